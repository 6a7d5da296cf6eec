"""depthmask compare on commits and experiments of a DVC project, with maps from DVC's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running_tools import run

from depthmask.commands.compare import main as compare

pytestmark = pytest.mark.slow

# stands for the stage evaluate: scores and one sample, moved by the param
SCRIPT = """
import csv, json, os, yaml
from PIL import Image
shift = yaml.safe_load(open("params.yaml"))["shift"]
os.makedirs("reports/samples", exist_ok=True)
with open("reports/per_image.csv", "w", newline="") as out:
    rows = csv.writer(out)
    rows.writerow(["key", "background", "cutout", "mask_iou", "depth_delta1"])
    for i in range(64):
        rows.writerow([str(i), f"room{i % 8}", f"cat{i // 8}", 0.5 + i / 1000 + shift * (1 + i % 3), 0.7])
maps = ("image", "mask", "depth", "mask_prediction", "depth_prediction")
for name in maps:
    Image.new("L", (8, 8), int(100 * (1 + shift))).save(f"reports/samples/{name}.png")
sample = {"key": "5", "files": {name: f"{name}.png" for name in maps}}
index = {"captions": {name: name for name in maps}, "samples": {"000005": sample}}
json.dump(index, open("reports/samples/index.json", "w"))
"""
GRAPH = """
stages:
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py]
    params: [shift]
    outs:
      - reports/samples
      - reports/per_image.csv: {cache: false}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A commit without results, one with them, one whose masks are better."""
    root = tmp_path_factory.mktemp("compare") / "project"
    root.mkdir()
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    (root / "evaluate.py").write_text(SCRIPT)
    (root / "dvc.yaml").write_text(GRAPH)
    for shift in (None, 0.0, 0.05):
        (root / "params.yaml").write_text(f"shift: {shift or 0.0}\n")
        if shift is not None:
            run(root, "dvc", "repro", "--quiet")
        run(root, "git", "add", "--all")
        run(root, "git", "commit", "--quiet", "--message", str(shift))
    run(root, "dvc", "exp", "run", "--quiet", "--set-param", "shift=-0.05", "--name", "darker")
    run(root, "git", "checkout", "--quiet", ".")
    run(root, "dvc", "checkout", "--quiet")
    return root


@pytest.fixture(autouse=True)
def inside(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))


def read(tmp_path, *names: str) -> dict:
    assert compare([*names, "--json", str(tmp_path / "out.json")]) == 0
    return json.loads((tmp_path / "out.json").read_text())


def test_the_last_commit_but_one_is_compared_with_the_workspace(project, tmp_path):
    found = read(tmp_path)
    assert found["a"] == {"name": "HEAD~1", "commit": run(project, "git", "rev-parse", "HEAD~1").stdout[:10]}
    assert found["b"] == {"name": "workspace", "commit": None}
    assert found["scores"]["mask_iou"]["verdict"] == "better" and found["scores"]["depth_delta1"]["verdict"] == "equal"
    assert found["params"] == [{"key": "shift", "a": 0.0, "b": 0.05}]


def test_an_experiment_is_known_by_its_name(tmp_path):
    found = read(tmp_path, "HEAD", "darker")
    assert found["scores"]["mask_iou"]["verdict"] == "worse"
    assert found["params"] == [{"key": "shift", "a": 0.05, "b": -0.05}]


def test_the_page_has_maps_of_both_from_dvcs_cache(tmp_path):
    assert compare(["HEAD~1", "HEAD", "--page", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 7  # photo and truth, and mask and depth of each
    assert "A: mask_prediction" in page and "B: depth_prediction" in page


def test_the_page_has_no_maps_where_dvc_has_none(project, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(project), str(clone))
    monkeypatch.chdir(clone)
    assert compare(["HEAD~1", "HEAD", "--page", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page and "There are no maps of the same images in both." in page


def test_a_commit_without_results_is_one_line(project, capsys):
    assert compare(["HEAD~2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    commit = run(project, "git", "rev-parse", "HEAD~2").stdout[:10]
    assert line == f"error: HEAD~2: commit {commit} has no reports/per_image.csv; choose one whose results were committed"
