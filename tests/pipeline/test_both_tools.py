"""The real graph on a tiny set: DVC and Snakemake make the same, rerun the same, and refuse the same."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from running_tools import TOOLS, find_different, is_dvc_clean, is_snakemake_done, require_nothing_to_do, run, run_dvc
from tiny_project import change_params, commit, copy_clone

from tools.stage_deps import find_imported_files

pytestmark = pytest.mark.slow

STAGES = {"check", "download", "pack", "split", "weights", "pretrain", "finetune", "evaluate", "photos", "report"}
# what tells when and where it was made; the page is not among them
DIFFER = ("run.json", "index.runs.js")


def list_outputs(root: Path) -> list[str]:
    """Every output of dvc.yaml but those that differ by nature, and within folders every file."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values()
    named = [out for stage in stages for out in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]]
    paths = [root / (next(iter(out)) if isinstance(out, dict) else out) for out in named]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted(str(file.relative_to(root)) for file in files if file.name not in (*DIFFER, ".snakemake_timestamp"))


def hash_tree(root: Path) -> dict[str, str]:
    """Every file but the tools' own notes and logs."""
    skipped = (".snakemake/", ".dvc/tmp/", ".git/", "logs/")
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if not name.startswith(skipped)}


def test_after_dvc_nothing_is_left_to_do(made_by_dvc):
    require_nothing_to_do(made_by_dvc)
    assert run(made_by_dvc, "git", "status", "--porcelain").stdout == ""


def test_after_snakemake_nothing_is_left_to_do(made_by_snakemake):
    require_nothing_to_do(made_by_snakemake)


def test_both_tools_make_the_same_bytes(made_by_dvc, made_by_snakemake):
    names = list_outputs(made_by_dvc)
    for name in [
        "data/models/pretrain.safetensors",
        "data/models/finetune.safetensors",
        "reports/metrics.json",
        "reports/per_image.csv",
        "reports/index.html",
    ]:
        assert name in names
    assert list_outputs(made_by_snakemake) == names
    assert find_different(made_by_dvc, made_by_snakemake, names) == []


def test_log_and_benchmark_of_every_stage(made_by_snakemake):
    assert {path.stem for path in (made_by_snakemake / "logs/benchmarks").glob("*.tsv")} == STAGES


CHANGES = {
    "report.title": ({"report": {"title": "other"}}, {"check", "report"}),
    "evaluate.num_shown": ({"evaluate": {"num_shown": 1}}, {"check", "evaluate", "report"}),
    "finetune.epochs": ({"finetune": {"epochs": 2}}, {"check", "finetune", "evaluate", "photos", "report"}),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_one_change_reruns_exactly_what_depends_on_it(made_by_dvc, tmp_path, tool):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    for key, (changes, expected) in CHANGES.items():
        change_params(root, changes)
        assert TOOLS[tool](root) == expected, key
    others = {file for stage in STAGES - {"evaluate"} for file in find_imported_files(root, f"stages.{stage}")}
    library = sorted(set(find_imported_files(root, "stages.evaluate")) - others - {"workflow/stages/evaluate.py"})
    with (root / library[0]).open("a") as source:
        source.write("# changed\n")
    assert TOOLS[tool](root) == {"evaluate", "report"}, library[0]
    assert is_dvc_clean(root)
    assert is_snakemake_done(root)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_new_photo_is_predicted_and_nothing_is_scored_again(made_by_dvc, tmp_path, tool):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    paths = [root / f"data/photos/cat{ending}.png" for ending in ("", "_background")]
    for path, grey in zip(paths, (90, 160), strict=True):
        Image.new("RGB", (40, 30), (grey, grey, grey)).save(path)
    assert TOOLS[tool](root) == {"check", "photos", "report"}
    assert [photo["name"] for photo in json.loads((root / "reports/photos/index.json").read_text())["photos"]] == ["cat.png"]
    assert "cat.png" in (root / "reports/index.html").read_text()
    (root / "data/own").mkdir()
    for path in paths:
        path.rename(root / "data/own" / path.name)
    change_params(root, {"evaluate": {"photos": "data/own"}})
    assert TOOLS[tool](root) - {"check"} <= {"photos", "report"}
    assert is_dvc_clean(root)
    assert is_snakemake_done(root)


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"pretrain": {"epoch": 1}}, "pretrain.epoch: unknown key"),
        ({"split": {"validation": 0.95}}, "validation: 0.95 + test: 0.25"),
    ],
)
def test_bad_params_are_one_line_and_change_nothing(made_by_dvc, tmp_path, changes, printed):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    change_params(root, changes)
    before = hash_tree(root)
    lines = {}
    for tool, command in {"snakemake": ["snakemake", "--cores", "2"], "dvc": ["dvc", "repro"]}.items():
        done = run(root, *command, check=False)
        assert done.returncode == (2 if tool == "snakemake" else 255)
        lines[tool] = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stdout
    assert len(lines["dvc"]) == 1
    assert lines["dvc"][0].startswith("error: params.yaml: ")
    assert printed in lines["dvc"][0]
    assert lines["snakemake"] == lines["dvc"]
    check = subprocess.run(
        [sys.executable, "-m", "stages.check", "--out", "x.txt"], cwd=root, env={"PYTHONPATH": "workflow"}, check=False
    )
    assert check.returncode == 2
    assert hash_tree(root) == before


def test_snakemakes_other_commands(made_by_snakemake, tmp_path):
    root = copy_clone(made_by_snakemake, tmp_path / "clone")
    assert "Nothing to be done" in run(root, "snakemake", "-n").stdout
    run(root, "snakemake", "--lint")
    for kind in ("--dag", "--rulegraph"):
        graph = run(root, "snakemake", kind).stdout
        assert all(stage in graph for stage in STAGES)
        assert "->" in graph
    run(root, "snakemake", "--report", "report.html")
    page = (root / "report.html").read_text()
    for name in ("metrics.json", "per_image.csv", "history.csv", "index.html", "grid_shown.png"):
        assert name in page
    assert "000000_depth" not in page  # single maps are for the page alone
    for caption in set((root / "workflow/captions").glob("*.rst")) - {root / "workflow/captions/photos.rst"}:  # none were given
        assert caption.read_text().split(",")[0].strip() in page, caption.name
    change_params(root, {"report": {"title": "other"}})
    for profile in ([], ["--profile", "profiles/gpu"]):
        planned = run(root, "snakemake", "-n", *profile).stdout
        assert "report" in planned
        assert "Nothing to be done" not in planned


def test_dvcs_tables_and_curves(made_by_dvc, tmp_path):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    change_params(root, {"report": {"title": "other"}})
    commit(root, "another title")
    table = run(root, "dvc", "params", "diff", "HEAD~1", "HEAD").stdout
    assert "report.title" in table
    assert "other" in table
    assert "metrics.json" in run(root, "dvc", "metrics", "show").stdout
    run(root, "dvc", "plots", "show", "--out", "curves")
    curves = (root / "curves/index.html").read_text()
    assert "train_loss" in curves and "mask_fraction" in curves
    run(root, "dvc", "plots", "diff", "HEAD~1", "HEAD", "--out", "both")
    pictures = [path.name for path in (root / "both/static").iterdir()]
    assert len(pictures) == 2 and all("fixed_samples" in name for name in pictures)  # at two commits
    kept, dropped = (
        re.search(rf"^{name} := (.*)$", (root / "Makefile").read_text(), re.MULTILINE)[1].replace("$$", "$")
        for name in ("SCORES", "NO_COLUMN")
    )
    table = run(root, "dvc", "exp", "show", "--num", "2", "--only-changed", "--csv", "--keep", kept, "--drop", dropped).stdout
    header = next(line for line in table.splitlines() if "Created," in line)
    assert header.split(",")[-5:] == [
        "test.mask.iou",
        "test.mask.dice",
        "test.depth.abs_rel",
        "test.depth.delta1",
        "report.title",
    ]


def test_the_page_reports_what_changed_since_the_last_commit(made_by_dvc, tmp_path):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    commit_then = run(root, "git", "rev-parse", "HEAD").stdout[:10]
    change_params(root, {"report": {"title": "other"}})
    assert run_dvc(root) == {"check", "report"}
    page, runs = ((root / "reports" / name).read_text() for name in ("index.html", "index.runs.js"))
    assert f"dvc metrics diff {commit_then}" in runs and f" from the commit {commit_then} (" in runs
    assert commit_then not in page and str(tmp_path) not in page + runs


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_made_again_at_another_commit_is_the_same_page(made_by_dvc, tmp_path, tool):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    pages = [root / "reports/index.html", root / "reports/index.runs.js"]
    page, runs = (path.read_bytes() for path in pages)
    (root / "reports/evaluate/run.json").write_text(
        json.dumps(json.loads((root / "reports/evaluate/run.json").read_text()) | {"seconds": 12345.6, "commit": "f" * 40})
    )
    run(root, "dvc", "commit", "--force", "evaluate")
    assert TOOLS[tool](root) == {"report"}
    assert pages[0].read_bytes() == page
    again = pages[1].read_bytes()
    assert again != runs and b"3 h 25 min" in again and b"ffffffffff" in again
