"""What the default recipe gives for more or less time: processor minutes against test scores, a point after another.

    PYTHONPATH=workflow python benchmarks/recipe_curve.py --folder FOLDER [--points 0.25 0.5 1 2] [--seeds 0]

A point is the recipe of params.yaml with its epochs multiplied by a number, or `wide`: with WIDE times the channels. Each point
and seed is run from data to scores by the commands of dvc.yaml, in a folder of its own under FOLDER, on a copy of the code that
is made there at the first call. What is finished is kept: the same command goes on after a kill with the stage that was not, from
that stage's beginning, so that the time of a stage is that of a whole one. Time is that of all processors in user and system
mode, of the stages and their loader processes: other work on the machine affects it less than wall time, which is also printed.
FOLDER/curve.md is the table.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from depthmask.base.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
POINTS = ("0.25", "0.5", "1", "2")
WIDE, WIDE_POINT = 1.5, "wide"
STAGES = ("download", "pack", "split", "weights", "pretrain", "finetune", "evaluate")  # to scores; the page takes no part
SCORES = {"mask IoU": ("mask", "iou"), "depth delta1": ("depth", "delta1")}
COLUMNS = ("point", "epochs", "samples", "seeds", "processor minutes", "wall minutes", *SCORES)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where to work; kept")
    parser.add_argument("--points", nargs="+", default=POINTS, help=f"numbers that epochs are multiplied by, or {WIDE_POINT}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--plot", type=Path, help="PNG to write (FOLDER/curve.png)")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="the recipe")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    code = copy_code(args.folder)
    for seed in args.seeds:
        for point in args.points:
            values = make_params(yaml.safe_load(args.params.read_text()), point, seed)
            run_point(args.folder / f"{point}-seed{seed}", values, code)
            results = read_results(args.folder, args.points, args.seeds)
            write_text(args.folder / "curve.md", make_table(results))
            draw(results, args.plot or args.folder / "curve.png")
    print((args.folder / "curve.md").read_text(), end="")
    return 0


def copy_code(folder: Path) -> Path:
    """The library, the graph and the photos' empty folder, so that what is edited meanwhile changes no point."""
    code = folder / "code"
    if not (code / "dvc.yaml").exists():
        shutil.copytree(ROOT / "workflow", code / "workflow", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        (code / "photos").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "dvc.yaml", code / "dvc.yaml")
    return code


def make_params(values: dict[str, Any], point: str, seed: int) -> dict[str, Any]:
    """The params of a point; paths are those of this project."""
    values["seed"] = seed
    values["download"]["path"] = str(ROOT / values["download"]["path"])
    values["evaluate"]["photos"] = "photos"
    if point == WIDE_POINT:
        values["model"]["width"] = round(values["model"]["width"] * WIDE)
        return values
    for stage in ("pretrain", "finetune"):
        values[stage]["epochs"] = max(1, round(values[stage]["epochs"] * float(point)))
    return values


def run_point(work: Path, values: dict[str, Any], code: Path) -> None:
    """Run the stages that have not been run; `times.json` says what each took."""
    work.mkdir(exist_ok=True)
    for name in ("workflow", "photos"):
        if not (work / name).exists():
            (work / name).symlink_to((code / name).resolve())
    text = yaml.safe_dump(values, sort_keys=False)
    params, times = work / "params.yaml", work / "times.json"
    if params.exists() and params.read_text() != text:
        raise SystemExit(f"{work}: was begun with other params; remove it, or name another --folder")
    write_text(params, text)
    taken = read_json(times) if times.exists() else {}
    stages = yaml.safe_load((code / "dvc.yaml").read_text())["stages"]
    for stage in STAGES:
        if stage not in taken:
            shutil.rmtree(work / ".checkpoints", ignore_errors=True)  # of a killed run, whose time is not known
            print(f"{work.name}: {stage} ({time.strftime('%H:%M')})", flush=True)
            taken[stage] = time_command(work, stages[stage]["cmd"])
            write_json(times, taken)


def time_command(work: Path, command: str) -> dict[str, float]:
    """Run a stage's command; seconds of all its processes, and of the clock."""
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, shell=True, cwd=work, env=environ, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall_s": wall}


def read_results(folder: Path, points: list[str], seeds: list[int]) -> dict[str, list[dict[str, float]]]:
    """Of each point that is there, a row for each seed: minutes and scores."""
    results: dict[str, list[dict[str, float]]] = {}
    for point in points:
        for seed in seeds:
            work = folder / f"{point}-seed{seed}"
            times = read_json(work / "times.json") if (work / "times.json").exists() else {}
            if STAGES[-1] not in times:
                continue
            scores, values = read_json(work / "reports/metrics.json")["test"], yaml.safe_load((work / "params.yaml").read_text())
            phases = [values["pretrain"], values["finetune"]]
            row = {"epochs": " + ".join(str(phase["epochs"]) for phase in phases)}
            row["samples"] = sum(phase["epochs"] * phase["samples_per_epoch"] for phase in phases)
            row["processor minutes"] = sum(times[stage]["cpu_s"] for stage in STAGES) / 60
            row["wall minutes"] = sum(times[stage]["wall_s"] for stage in STAGES) / 60
            results.setdefault(point, []).append(row | {name: scores[task][key] for name, (task, key) in SCORES.items()})
    return results


def make_table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown; of several seeds the mean, and behind a score the lowest and the highest."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
    for point, rows in results.items():
        cells = [point if point == WIDE_POINT else f"× {point}", rows[0]["epochs"], f"{rows[0]['samples']:,}", str(len(rows))]
        cells += [f"{statistics.mean(row[name] for row in rows):.1f}" for name in COLUMNS[4:6]]
        for name in SCORES:
            values = [row[name] for row in rows]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """A small picture: a line through the points' means, a dot a seed; the wide network stands apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 3.2), layout="constrained")
    scaled = sorted((point for point in results if re.fullmatch(r"[\d.]+", point)), key=float)
    for number, name in enumerate(SCORES):
        means = [[statistics.mean(row[column] for row in results[p]) for p in scaled] for column in ("processor minutes", name)]
        axes.plot(*means, color=f"C{number}", label=name)
        for point, rows in results.items():
            minutes, scores = zip(*((row["processor minutes"], row[name]) for row in rows))
            axes.plot(minutes, scores, "s" if point == WIDE_POINT else "o", color=f"C{number}", markersize=4)
    axes.set(xlabel="processor minutes", ylabel="test score")
    axes.set_xscale("log")
    axes.set_xticks(means[0], [f"{minutes:.1f}" for minutes in means[0]])
    axes.minorticks_off()
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    part = path.with_suffix(".part.png")
    figure.savefig(part, dpi=110)
    pyplot.close(figure)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
