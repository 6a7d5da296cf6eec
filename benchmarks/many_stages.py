"""What a graph of many trainings costs: both tools, a job, dvc.lock; see benchmarks/README.md.

    PYTHONPATH=workflow:tests python benchmarks/many_stages.py

The trainings write a line each, so that only the tools are measured, in CPU seconds, which other users of a machine change least.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import running_tools
import yaml
from making_graphs import make_project
from waiting import read_cpu_seconds

NUMBERS = (10, 100, 1000)
NUM_JOBS, NUM_SIDE_BY_SIDE = 8, 4
NUM_CODE = 24  # files of the library that a training depends on, as in leaderboard/dvc.yaml
PARAMS = ["seed", "compose", "augment", "model", "loss", "pretrain", "compute"]
GRAPH = {
    "stages": {
        "train": {
            "foreach": [],
            "do": {
                "cmd": "mkdir -p models notes && echo ${item} > models/${item}.txt && echo ${item} > notes/${item}.json",
                "deps": [f"source/{number:02d}.py" for number in range(NUM_CODE)],
                "params": PARAMS,
                "outs": ["models/${item}.txt", {"notes/${item}.json": {"cache": False}}],
                "meta": {"threads": 1, "resources": {"mem_mb": 100, "runtime": 5, "gpu": 0}},
            },
        }
    }
}
WRITE_LOCK = """
from dvc.utils.serialize import modify_yaml
with modify_yaml("dvc.lock") as lock:
    lock["stages"]["train@t0000"]["cmd"] += " "
"""
COLUMNS = {
    "stages": "stages",
    "lock_mb": "dvc.lock, MB",
    "status": "dvc status, CPU s",
    "dry": "snakemake -n, CPU s",
    "write": "write dvc.lock, CPU s",
    "job": "one job, CPU s",
    "per_minute": f"jobs a minute, {NUM_SIDE_BY_SIDE} at once",
    "calls": "metadata calls of a job",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    args = parser.parse_args()
    rows = []
    for number in args.numbers:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            rows.append(measure(Path(folder) / "project", number))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| " + " | ".join(COLUMNS.values()) + " |")
    print("|" + " ---: |" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |")


def measure(root: Path, number: int) -> dict:
    """A row of the table. Every stage is recorded as done, until jobs are measured: those run stages that are not."""
    names = [f"t{item:04d}" for item in range(number)]
    make_finished_project(root, names)
    row = {"stages": number, "lock_mb": round((root / "dvc.lock").stat().st_size / 1e6, 2)}
    run(root, "dvc", "status")  # the first look hashes every file
    status, out = run(root, "dvc", "status")
    assert "up to date" in out, out[-2000:]
    dry, out = run(root, "snakemake", "-n")
    assert "Nothing to be done" in out, out[-2000:]
    row |= {"status": status, "dry": dry, "write": run(root, sys.executable, "-c", WRITE_LOCK)[0]}
    forget(root, names[:1])
    row["job"] = run(root, *find_job(root, names[0]))[0]
    assert names[0] in list_recorded(root)
    forget(root, names[:1])
    row["calls"] = count_metadata_calls(root, find_job(root, names[0]))
    forget(root, names[:NUM_JOBS])
    row["per_minute"] = round(60 * NUM_JOBS / run_side_by_side(root, [find_job(root, name) for name in names[:NUM_JOBS]]), 1)
    assert {*names} == list_recorded(root), "a record was lost"
    return row


def make_finished_project(root: Path, names: list[str]) -> None:
    """A project whose stages are all up to date: one is run, the records of the others are made after its."""
    GRAPH["stages"]["train"]["foreach"] = names
    make_project(root, yaml.safe_dump(GRAPH, sort_keys=False))
    for number in range(NUM_CODE):
        (root / f"source/{number:02d}.py").write_text(f"number = {number}\n")
    run(root, "dvc", "repro", f"train@{names[0]}")
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    first = json.dumps(lock["stages"][f"train@{names[0]}"])
    for name in names:
        text = f"{name}\n".encode()
        md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
        for path in (f"models/{name}.txt", f"notes/{name}.json", f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if not (root / path).exists():
                (root / path).write_bytes(text)
        stage = json.loads(first.replace(names[0], name))
        for out in stage["outs"]:
            out["md5"] = md5
        lock["stages"][f"train@{name}"] = stage
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def forget(root: Path, names: list[str]) -> None:
    """Remove records, so that their stages are to run."""
    text = (root / "dvc.lock").read_text()
    for name in names:
        text = re.sub(rf"^  train@{name}:\n(?:    .*\n|  - .*\n|   .*\n)*", "", text, flags=re.MULTILINE)
    (root / "dvc.lock").write_text(text)


def list_recorded(root: Path) -> set[str]:
    return set(re.findall(r"^  train@(\w+):$", (root / "dvc.lock").read_text(), re.MULTILINE))


def find_job(root: Path, name: str) -> list[str]:
    """The command of the stage's job under Snakemake, without Snakemake."""
    from stage_graph import JOB  # late: in the project's folder

    return [sys.executable, str(root / "workflow" / JOB.name), f"train@{name}"]


def run(root: Path, *command: str) -> tuple[float, str]:
    """The CPU seconds of a command with its children, and what it prints."""
    before = read_cpu_seconds()
    done = running_tools.run(root, *command)
    return round(read_cpu_seconds() - before, 2), done.stdout


def run_side_by_side(root: Path, jobs: list[list[str]]) -> float:
    """Seconds until all jobs have ended, NUM_SIDE_BY_SIDE at once; each must succeed."""
    since = time.monotonic()
    with ThreadPoolExecutor(NUM_SIDE_BY_SIDE) as pool:
        list(pool.map(lambda job: running_tools.run(root, *job), jobs))
    return time.monotonic() - since


def count_metadata_calls(root: Path, job: list[str]) -> str:
    """How many system calls of a job take the path of a file in the project's folder, and how many one elsewhere; by strace."""
    if shutil.which("strace") is None:
        return "no strace"
    log = root.parent / "calls.txt"
    run(root, "strace", "-f", "-qq", "-e", "trace=%file", "-o", str(log), *job)
    paths = re.findall(r'^\d+ +\w+\((?:AT_FDCWD, )?"([^"]*)"', log.read_text(errors="replace"), re.MULTILINE)
    outside = sum(path.startswith("/") and not path.startswith(os.fspath(root)) for path in paths)
    return f"{len(paths) - outside:,} and {outside:,} elsewhere"


if __name__ == "__main__":
    main()
