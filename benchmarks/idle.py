"""How long the tools take where nothing is to be done, beside the least that each of them takes itself.

    PYTHONPATH=workflow:tests python benchmarks/idle.py [--repeats 9] [--project FOLDER]

Ours is a clone of this project, cut down to a few small images, that `dvc repro` has finished; the number of stages, of their
deps and of params is the real one, and the tools ask of files what they ask of large ones, times and sizes. The peer is the same
tool in a git repository with one stage or rule, a line of shell, whose output is up to date. Commands take turns, so that what
else the machine does falls on all alike. It prints wall time, and processor time, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from running_tools import is_dvc_clean, is_snakemake_done, make_environment, run, run_dvc
from tiny_project import commit, make_clone

from depthmask.runs.hardware import describe_hardware

GOAL = 2.0  # times the peer's median
COMMANDS = {
    "dvc repro": ["dvc", "repro"],
    "snakemake -n": ["snakemake", "-n"],
    "snakemake --cores 2": ["snakemake", "--cores", "2"],
}
VERSIONS = {"dvc --version": ["dvc", "--version"], "snakemake --version": ["snakemake", "--version"]}
DVC_YAML = "stages:\n  only:\n    cmd: echo done > dvc.txt\n    outs: [dvc.txt]\n"
SNAKEFILE = 'rule only:\n    output:\n        "snakemake.txt",\n    shell:\n        "echo done > {output}"\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of each command; the median is printed")
    parser.add_argument("--project", type=Path, help="a finished clone to measure in (a new one is made: half a minute)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = args.project or make_ours(Path(folder) / "ours"), make_peer(Path(folder) / "peer")
        seconds = time_in_turns({"ours": ours, "peer": peer}, args.repeats)
    print_table(seconds, args.repeats)


def make_ours(root: Path) -> Path:
    """A clone that is finished for both tools, its results committed."""
    make_clone(root)
    run_dvc(root)
    commit(root, "results")
    if not (is_dvc_clean(root) and is_snakemake_done(root)):
        raise RuntimeError(f"{root}: something is left to do")
    return root


def make_peer(root: Path) -> Path:
    """A repository of one DVC stage and one Snakemake rule that have nothing to do with each other, both made."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "Snakefile").write_text(SNAKEFILE)
    (root / ".gitignore").write_text("/.snakemake/\n")
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    for command in (["init", "--quiet"], ["config", "core.analytics", "false"], ["repro"]):
        run(root, "dvc", *command)
    run(root, "snakemake", "--cores", "2")
    commit(root, "peer")
    return root


def time_in_turns(projects: dict[str, Path], repeats: int) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(wall, processor) seconds of each turn of each (project, command), and of ("-", command) for the tools' versions.

    A first round, which warms the caches, is not counted.
    """
    wanted = [(name, command) for command in COMMANDS for name in projects] + [("-", command) for command in VERSIONS]
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in wanted}
    for turn in range(repeats + 1):
        for name, command in wanted:
            taken = time_command(projects.get(name, projects["peer"]), (COMMANDS | VERSIONS)[command])
            if turn:
                seconds[name, command].append(taken)
    return seconds


def time_command(root: Path, command: list[str]) -> tuple[float, float]:
    """Wall seconds, and those of all processors; raises CalledProcessError if it fails."""
    environ, before, since = make_environment(root), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=root, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_table(seconds: dict[tuple[str, str], list[tuple[float, float]]], repeats: int) -> None:
    medians = {key: [statistics.median(column) for column in zip(*values)] for key, values in seconds.items()}
    print("| command | one stage: s | this project: s | ratio | the same, CPU s | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for command in COMMANDS:
        (wall, cpu), (least_wall, least_cpu) = medians["ours", command], medians["peer", command]
        print(
            f"| `{command}` | {least_wall:.2f} | {wall:.2f} | {wall / least_wall:.2f}"
            f" | {least_cpu:.2f}, {cpu:.2f} | {cpu / least_cpu:.2f} |"
        )
    for command in VERSIONS:
        wall, cpu = medians["-", command]
        print(f"| `{command}` | {wall:.2f} | | | {cpu:.2f} | |")
    hardware = describe_hardware()
    print(
        f"\nmedians of {repeats}, goal {GOAL:g} times; {hardware['processor']}, {hardware['cores']} cores, {hardware['system']}"
    )


if __name__ == "__main__":
    main()
