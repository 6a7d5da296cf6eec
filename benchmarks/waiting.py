"""How much of a training step is spent waiting for data, and what the loader costs beside a batch that is in memory already.

    PYTHONPATH=workflow:tests python benchmarks/waiting.py [--epochs 2] [--repeats 3]

The pretrain stage's own script with the params of params.yaml, on composites made while training (`demo`) and on the same kind of
composites packed beforehand (`packed`), with no loader process and with as many as are the default. The peer is the same
training in which every step takes the first batch again, ready-made: what remains is the network. Waiting is what the step
measures as `load`: until the batch is there, and its bytes made floats. It can be little while loader processes take cores from
the network, which only the images per second show, and the processor time of all processes that an image costs more than the
peer's; other work on the machine changes that less. Contenders take turns; each is a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.05  # of a step
REUSED = "one batch"
COMPOSITES = (24, 24, 4)  # backgrounds, cut-outs, places of each pair; of those packed
SOURCES = {"demo": ["--raw", "demo/raw"], "packed": ["--raw", "packed/raw", "--store", "packed/store"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2, help="of pretrain, in each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement; the median is printed")
    args = parser.parse_args()
    from depthmask.execution.speed_options import read_speed_options

    ways = {REUSED: REUSED, "0 workers": "0"} | {f"{count} workers": str(count) for count in [read_speed_options({}).num_workers]}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, args.epochs)
        taken = {(source, way): [] for source in SOURCES for way in ways}
        for _ in range(args.repeats):
            for source, way in taken:
                taken[source, way].append(train(work, source, ways[way]))
                print(f"{source}, {way}: {taken[source, way][-1]}", file=sys.stderr, flush=True)
    print_table(taken, list(ways))


def prepare(work: Path, epochs: int) -> None:
    """Both sources, split, in `work`."""
    from making_layouts import WRITERS, make_composites

    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["pretrain"] |= {"epochs": epochs}
    values["download"]["path"] = str(ROOT / "data/demo")
    layout, _ = WRITERS["flat_numbered"](work / "set", make_composites(*COMPOSITES, size_px=224))
    packed = values | {"download": values["download"] | {"source": "flat_numbered", "path": "set"} | layout}
    for source, params in {"demo": values, "packed": packed}.items():
        (work / source).mkdir()
        (work / source / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        common = ["--params", f"{source}/params.yaml"]
        run_stage(work, "download", *common, "--out", f"{source}/raw", "--run", "run.json")
        run_stage(work, "pack", *common, "--raw", f"{source}/raw", "--out", f"{source}/store")
        split = ["--store", f"{source}/store", "--out", f"{source}/split", "--run", "run.json"]
        run_stage(work, "weights", *common, "--out", f"{source}/weights", "--run", "run.json")
        run_stage(work, "split", *common, "--raw", f"{source}/raw", *split)


def train(work: Path, source: str, way: str) -> dict[str, float]:
    """Images a second; milliseconds of a step, and those of them that were spent waiting; of all processors, for an image.

    The last counts the start and the validation too, which are the same whatever the loader.
    """
    files = ["--weights", "w.safetensors", "--history", "h.csv", "--run", "run.json"]
    inputs = [*SOURCES[source], "--split", f"{source}/split", "--start", f"{source}/weights"]
    arguments = ["--params", f"{source}/params.yaml", *inputs, *files]
    before = read_cpu_seconds()
    if way == REUSED:
        run(work, [sys.executable, __file__, "--train-on-one-batch", *arguments], "0")
    else:
        run(work, [sys.executable, "-m", "stages.pretrain", *arguments], way)
    extra = json.loads((work / "run.json").read_text())["extra"]
    step_ms = 1000 * extra["phases"][0]["batch_size"] / extra["images_per_second"]
    return {
        "images": extra["images_per_second"],
        "step_ms": step_ms,
        "load_ms": 1000 * extra["seconds_of_a_step"]["load"],
        "cpu_ms_of_image": 1000 * (read_cpu_seconds() - before) / (extra["steps"] * extra["phases"][0]["batch_size"]),
    }


def read_cpu_seconds() -> float:
    """Of all processes that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def train_on_one_batch(arguments: list[str]) -> int:
    """The pretrain stage, whose loader hands out its first batch, as the network takes it, again and again."""
    from depthmask.training import loop
    from stages import pretrain

    load_batches = loop.load_batches
    loop.load_batches = lambda *given: itertools.repeat(next(load_batches(*given)))
    return pretrain.main(arguments)


def run_stage(work: Path, stage: str, *arguments: str) -> None:
    run(work, [sys.executable, "-m", f"stages.{stage}", *arguments], "")


def run(work: Path, command: list[str], workers: str) -> None:
    """Raises RuntimeError with what the command said if it fails."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "DEPTHMASK_TIMES": "1", "DEPTHMASK_WORKERS": workers}
    done = subprocess.run(command, cwd=work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}")


def print_table(taken: dict[tuple[str, str], list[dict[str, float]]], ways: list[str]) -> None:
    print("| source | loader | images/s | of one batch's | step, ms | waiting, ms | waiting | more CPU ms an image |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for source, way in taken:
        row, peer = take_medians(taken[source, way]), take_medians(taken[source, ways[0]])
        share = statistics.median(turn["load_ms"] / turn["step_ms"] for turn in taken[source, way])
        print(
            f"| {source} | {way} | {row['images']:.0f} | {row['images'] / peer['images']:.2f} | {row['step_ms']:.1f}"
            f" | {row['load_ms']:.2f} | {share:.1%} | {row['cpu_ms_of_image'] - peer['cpu_ms_of_image']:.2f} |"
        )
    from depthmask.runs.hardware import describe_hardware

    hardware = describe_hardware()
    print(f"\nthe goal is {GOAL:.0%} waiting; {hardware['processor']}, {hardware['cores']} cores, {hardware['system']}")


def take_medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train-on-one-batch"]:  # by this script itself
        sys.exit(train_on_one_batch(sys.argv[2:]))
    main()
