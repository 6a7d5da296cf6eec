"""Time to index and split, and resident memory of training, as the number of composites grows; see benchmarks/README.md.

    PYTHONPATH=workflow python benchmarks/scale.py

Each figure is taken in a process of its own, the stages are the pipeline's own scripts. `assets` are composites made while
training of the demo pack's backgrounds and cut-outs: their number is that of an epoch. `packed` are pre-composited ones.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from synthetic_store import write_synthetic_store

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = (4_000, 40_000, 400_000)
SIZE_PX, BATCH_SIZE, STEPS = 32, 16, 200  # steps of training after which its memory is looked at
PATIENCE_S = 900
SOURCES = {"assets": ["--raw", "assets/raw"], "packed": ["--raw", "packed/raw", "--store", "packed/store"]}
COLUMNS = {
    "source": "composites",
    "number": "number",
    "open_ms": "open, ms",
    "split_s": "index and split, s",
    "split_peak": "its peak, MiB",
    "train": "training, MiB",
    "worker": "its loader, MiB",
    "train_anonymous": "training, private MiB",
    "worker_anonymous": "its loader, private MiB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--repeats", type=int, default=3, help="of each figure; the median is printed")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = []
        for number in args.numbers:
            rows += measure_number(Path(folder), number, args.repeats)
    print_table(rows)


def measure_number(folder: Path, number: int, repeats: int) -> list[dict]:
    """A row for each kind of source. A second store never lies beside the first."""
    work = folder / str(number)
    since = time.monotonic()
    write_synthetic_store(work / "packed", number, SIZE_PX, num_processes=len(os.sched_getaffinity(0)))
    note(f"{number:,}: synthetic store packed in {time.monotonic() - since:.0f} s")
    write_params(work, number)
    run(work, "stages.download", "--out", "assets/raw")
    run(work, "stages.weights", "--out", "weights", "--run", "run.json")
    rows = []
    for source, data in SOURCES.items():
        figures = [measure_once(work, source, data, turn) for turn in range(repeats)]
        medians = {name: statistics.median(turn[name] for turn in figures) for name in figures[0]}
        rows.append({"source": source, "number": number, **medians})
        note(f"{number:,} {source}: {medians}")
    shutil.rmtree(work)
    return rows


def measure_once(work: Path, source: str, data: list[str], turn: int) -> dict[str, float]:
    split = f"{source}/split{turn}"
    figures = json.loads(run_script(work, "--measure", "split", *data, "--out", split))
    figures |= json.loads(run_script(work, "--measure", "open", str(data[-1])))
    return figures | measure_training(work, [*data, "--split", split])


def measure_here(what: str, *arguments: str) -> dict[str, float]:
    """In this process, whose imports do not count."""
    if what == "open":
        from depthmask.sources import open_source

        since = time.perf_counter()
        open_source(Path(arguments[0]))
        return {"open_ms": 1000 * (time.perf_counter() - since)}
    from stages import split

    since = time.perf_counter()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        kept, sys.stdout = sys.stdout, nowhere
        failed = split.main(list(arguments))
        sys.stdout = kept
    if failed:
        raise SystemExit(failed)
    seconds = time.perf_counter() - since
    return {"split_s": seconds, "split_peak": read_memory(os.getpid())["VmHWM"]}


def measure_training(work: Path, data: list[str]) -> dict[str, float]:
    """The memory of the pretrain stage and of its loader's one process, after STEPS steps of an epoch of all composites."""
    checkpoints = work / ".checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    outputs = ["--weights", "w.safetensors", "--history", "h.csv", "--run", "r.json"]
    environ = make_environment() | {"DEPTHMASK_CHECKPOINT_STEPS": str(STEPS), "DEPTHMASK_WORKERS": "1"}
    command = [sys.executable, "-m", "stages.pretrain", *data, "--start", "weights", *outputs]
    with subprocess.Popen(command, cwd=work, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + PATIENCE_S
        while not list(checkpoints.glob("*/last.safetensors")):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"training ended, or took too long: {process.stderr.read().decode()}")
            time.sleep(0.05)
        own, worker = read_memory(process.pid), read_memory(max(list_children(process.pid)))
        process.send_signal(signal.SIGKILL)
    return {
        "train": own["VmRSS"],
        "worker": worker["VmRSS"],
        "train_anonymous": own["RssAnon"],
        "worker_anonymous": worker["RssAnon"],
    }


def read_memory(pid: int) -> dict[str, float]:
    """VmRSS: all that is resident; VmHWM: its highest; RssAnon: without the pages of files, which processes share. MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "RssAnon")}


def list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def write_params(work: Path, number: int) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["download"]["path"] = str(ROOT / "data/demo")
    values["model"]["width"] = 8
    values["compute"]["threads"] = 1
    for section in ("pretrain", "finetune"):
        values[section] |= {"image_size_px": SIZE_PX, "batch_size": BATCH_SIZE, "samples_per_epoch": number, "epochs": 2}
        values[section] |= {"validation_samples": BATCH_SIZE}
    values["evaluate"]["image_size_px"] = SIZE_PX
    (work / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def make_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "workflow")}


def run(work: Path, module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=work, env=make_environment(), check=True, stdout=subprocess.DEVNULL
    )


def run_script(work: Path, *arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, cwd=work, env=make_environment(), check=True, stdout=subprocess.PIPE, text=True).stdout


def print_table(rows: list[dict]) -> None:
    from depthmask.runs.hardware import describe_hardware

    print("| " + " | ".join(COLUMNS.values()) + " |")
    print("|" + " --- |" * len(COLUMNS))
    for row in rows:
        figures = [f"{row[name]:,.1f}" for name in list(COLUMNS)[2:]]
        print(f"| {row['source']} | {row['number']:,} | " + " | ".join(figures) + " |")
    hardware = describe_hardware()
    print(f"\n{hardware['processor']}, {hardware['cores']} cores, {hardware.get('memory_gib', '?')} GiB, {hardware['system']}")


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:  # by this script itself
        print(json.dumps(measure_here(*sys.argv[2:])))
    else:
        main()
