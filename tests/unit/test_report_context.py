"""What the page compares with: a commit by DVC's own differences, a leaderboard, dvc.lock, the default recipe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from running_tools import run

from depthmask.base.errors import UserError
from depthmask.base.files import write_csv, write_json
from depthmask.reporting.context import Context, Hashed, read_changes, read_context, read_hashes, read_leaderboard

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """A DVC project of one metrics file: a commit without it, then one with it."""
    root = tmp_path_factory.mktemp("dvc") / "project"
    (root / "reports").mkdir(parents=True)
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    (root / "dvc.yaml").write_text("metrics: [reports/metrics.json]\n")
    (root / "params.yaml").write_text("seed: 1\nsame: 2\n")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "empty")
    write_json(root / "reports/metrics.json", {"test": {"mask": {"iou": 0.25}, "depth": {"delta1": None}}})
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "scores")
    return root


@pytest.fixture
def project(committed, tmp_path, monkeypatch) -> Path:
    root = shutil.copytree(committed, tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return root


def test_changes_are_those_of_dvc(project):
    write_json(project / "reports/metrics.json", {"test": {"mask": {"iou": 0.5}, "depth": {"delta1": 0.75}}})
    (project / "params.yaml").write_text("seed: 3\nsame: 2\n")
    changes = read_changes(Path("reports/metrics.json"), None)
    assert changes.commit == run(project, "git", "rev-parse", "HEAD").stdout[:10]
    assert changes.old == {"test.mask.iou": 0.25}
    assert changes.params == (("seed", 1, 3),)
    printed = json.loads(run(project, "dvc", "metrics", "diff", "--json").stdout)["reports/metrics.json"]
    assert printed["test.mask.iou"]["old"] == changes.old["test.mask.iou"]


def test_a_commit_without_scores_is_reported_and_rejected_where_it_was_named(project):
    with pytest.raises(UserError, match=r"--compare HEAD~1: commit \w{10} has no reports/metrics.json"):
        read_changes(Path("reports/metrics.json"), "HEAD~1")
    with pytest.raises(UserError, match=r"--compare nowhere: .*give a commit"):
        read_changes(Path("reports/metrics.json"), "nowhere")
    run(project, "git", "reset", "--quiet", "--hard", "HEAD~1")
    changes = read_changes(Path("reports/metrics.json"), None)
    assert changes.commit is None and "has no scores" in changes.reason


def test_outside_of_a_project_nothing_is_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_changes(Path("reports/metrics.json"), None).commit is None


def test_the_leaderboards_best_of_each_score(tmp_path):
    path = tmp_path / "leaderboard.csv"
    assert read_leaderboard(path) == {}
    columns = ["kind", "name", "mask_iou", "mask_dice", "depth_delta1", "depth_abs_rel"]
    rows = [("recipe", "a", 0.5, 0.6, "", 0.3), ("recipe", "b", 0.7, 0.5, "", 0.2), ("baseline", "c", 0.9, 0.9, 1, 0.1)]
    write_csv(path, columns, [dict(zip(columns, row, strict=True)) for row in rows])
    best = read_leaderboard(path)
    assert best == {"mask_iou": ("b", 0.7), "mask_dice": ("a", 0.6), "depth_abs_rel": ("b", 0.2)}
    path.write_text("kind,name\nrecipe,a\n")
    with pytest.raises(UserError, match="is not a leaderboard table"):
        read_leaderboard(path)


def test_hashes_are_those_of_the_lock_but_for_what_differs_by_nature(tmp_path):
    path = tmp_path / "dvc.lock"
    assert read_hashes(path) == ()
    outs = """[{path: data/raw, md5: a.dir, size: 5, nfiles: 2}, {path: reports/x/run.json, md5: b}]"""
    path.write_text(f"stages: {{download: {{outs: {outs}}}, report: {{outs: [{{path: page, md5: c}}]}}}}\n")
    assert read_hashes(path) == (Hashed("data/raw", "a.dir", 5, 2),)
    path.write_text("{")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_hashes(path)


def test_hashes_leave_out_sources_that_are_gone_and_every_run_record(tmp_path):
    more = [
        f"download_more@{n}: {{outs: [{{path: raw_more/{n}, md5: a}}, {{path: {n}/run.json, md5: b}}]}}" for n in ("x", "old")
    ]
    (tmp_path / "dvc.lock").write_text(f"stages: {{{', '.join(more)}}}\n")
    assert read_hashes(tmp_path / "dvc.lock", {"x"}) == (Hashed("raw_more/x", "a", 0, 1),)


def test_defaults_are_those_of_the_default_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = tmp_path / "nowhere"
    context = read_context(nowhere, nowhere, nowhere, PROJECT / "params.yaml", PROJECT / "workflow/recipes", None)
    assert isinstance(context, Context)
    assert context.defaults["model"]["name"] == "encoder_decoder" and "download" not in context.defaults


def test_hashes_do_not_depend_on_the_order_in_which_stages_ran(tmp_path):
    stages = [f"  {name}: {{outs: [{{path: reports/{name}, md5: a}}]}}\n" for name in ("evaluate", "photos")]
    read = []
    for name, order in (("one", stages), ("other", stages[::-1])):
        (tmp_path / name).write_text("stages:\n" + "".join(order))
        read.append(read_hashes(tmp_path / name))
    assert read[0] == read[1] == (Hashed("reports/evaluate", "a", 0, 1), Hashed("reports/photos", "a", 0, 1))


@pytest.mark.slow
def test_changes_of_the_same_test_images_have_an_interval_and_a_verdict(project):
    columns = ("key", "background", "cutout", "mask_iou", "depth_delta1")

    def write(iou: float, background: str = "room") -> None:
        rows = [
            {"key": f"{i}", "background": f"{background}{i % 8}", "cutout": f"cat{i // 8}", "mask_iou": iou + i / 1000}
            | {"depth_delta1": 0.5 + (i % 5 - 2) * (iou - 0.25)}
            for i in range(64)
        ]
        write_csv(project / "reports/per_image.csv", columns, rows)

    write(0.25)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "images")
    write(0.3)
    changes = read_changes(Path("reports/metrics.json"), None)
    assert changes.paired["mask_iou"] == ("+0.050 to +0.050", "better")
    assert changes.paired["depth_delta1"][1] == "cannot tell" and changes.unpaired == ""
    write(0.3, "elsewhere")
    changes = read_changes(Path("reports/metrics.json"), None)
    assert changes.paired == {} and "64 of 64 show another background or cut-out" in changes.unpaired
