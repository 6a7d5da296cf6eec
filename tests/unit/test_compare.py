"""depthmask compare: pairing, verdicts, what is refused, and what is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from depthmask.base.files import read_csv, write_csv, write_json
from depthmask.commands.compare import WORSE_EXIT_CODE
from depthmask.commands.compare import main as compare
from depthmask.comparison.differences import BETTER, EQUAL, UNDECIDED, WORSE

NUM_BACKGROUNDS, NUM_CUTOUTS, NUM_IMAGES = 12, 10, 240
COLUMNS = ("key", "background", "cutout", "mask_fraction", "mask_iou", "depth_delta1", "depth_rmse")


def make_rows(shift: dict[str, float], noise: float = 0.02, seed: int = 0) -> list[dict]:
    """Scores that depend on background and cut-out far more than on the shift of a model."""
    shared, own = np.random.default_rng(9), np.random.default_rng(seed)
    easy = shared.normal(0, 0.1, (2, NUM_BACKGROUNDS))
    rows = []
    for i in range(NUM_IMAGES):
        b, c = i % NUM_BACKGROUNDS, (i * 7 + i // NUM_BACKGROUNDS) % NUM_CUTOUTS
        level = 0.6 + easy[0, b] + easy[1, c]
        values = {column: level + shift.get(column, 0.0) + own.normal(0, noise) for column in COLUMNS[4:]}
        rows.append({"key": f"{i:04d}", "background": f"b{b}", "cutout": f"c{c}", "mask_fraction": 0.1 + c / 100} | values)
    return rows


def write_results(folder: Path, rows: list[dict], params: str = "seed: 0\n") -> Path:
    (folder / "reports").mkdir(parents=True)
    write_csv(folder / "reports" / "per_image.csv", COLUMNS, rows)
    (folder / "params.yaml").write_text(params)
    write_json(folder / "reports/evaluate/run.json", {"extra": {"source": {"depth_unit": "metre"}}})
    return folder


@pytest.fixture
def sides(tmp_path):
    a = write_results(tmp_path / "a", make_rows({}))
    changed = make_rows({"mask_iou": 0.01, "depth_rmse": 0.01}, seed=1)
    return a, write_results(tmp_path / "b", changed, "seed: 0\ncompose: {shadow: null}\n")


def read(sides, tmp_path, *options):
    code = compare([*map(str, sides), "--json", str(tmp_path / "out.json"), *options])
    return code, json.loads((tmp_path / "out.json").read_text())


def test_a_shift_smaller_than_the_spread_of_images_is_found_by_pairing(sides, tmp_path, capsys):
    code, found = read(sides, tmp_path)
    assert code == 0
    scores = found["scores"]
    assert scores["mask_iou"]["verdict"] == BETTER and scores["depth_rmse"]["verdict"] == WORSE
    assert scores["depth_delta1"]["verdict"] == UNDECIDED
    assert scores["mask_iou"]["low"] < scores["mask_iou"]["difference"] < scores["mask_iou"]["high"]
    assert scores["mask_iou"]["difference"] == pytest.approx(0.01, abs=0.005)
    assert found["num_images"] == NUM_IMAGES and found["num_clusters"] == {"background": 12, "cutout": 10}
    assert found["params"] == [{"key": "compose.shadow", "a": "not set", "b": None}]
    printed = capsys.readouterr().out
    assert re.search(r"^mask IoU .* better +higher *$", printed, re.MULTILINE)
    assert "compose.shadow: not set -> null" in printed and "cannot tell" in printed and "depth RMSE, m" in printed


def test_the_images_that_changed_most_are_named(sides, tmp_path):
    _, found = read(sides, tmp_path)
    (first, *_), rows = found["changed_most"]["mask_iou"], [read_csv(side / "reports/per_image.csv") for side in sides]
    changes = [float(new["mask_iou"]) - float(old["mask_iou"]) for old, new in zip(*rows, strict=True)]
    largest = int(np.argmax(np.abs(changes)))
    assert first["key"] == rows[0][largest]["key"]
    assert first["b"] - first["a"] == pytest.approx(changes[largest], abs=1e-5)


def test_equal_results_are_equal(sides, tmp_path):
    _, found = read((sides[0], sides[0]), tmp_path)
    assert {score["verdict"] for score in found["scores"].values()} == {EQUAL}
    assert found["changed_most"] == {"mask_iou": [], "depth_delta1": []} and found["params"] == []


def test_the_exit_code_holds_a_line_on_demand(sides, tmp_path, capsys):
    assert read(sides, tmp_path, "--fail-if-worse", "mask_iou", "depth_delta1")[0] == 0
    assert read(sides, tmp_path, "--fail-if-worse", "mask_iou", "--fail-if-worse", "depth_rmse")[0] == WORSE_EXIT_CODE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: depth_rmse: ") and " is worse than " in line
    assert compare([*map(str, sides), "--fail-if-worse", "iou"]) == 1
    assert "iou: is not a score of both; allowed: a column of per_image.csv, such as mask_iou" in capsys.readouterr().err


def test_rows_are_paired_by_name_not_by_order(sides, tmp_path):
    _, before = read(sides, tmp_path)
    rows = read_csv(sides[0] / "reports/per_image.csv")
    write_csv(sides[0] / "reports/per_image.csv", COLUMNS, rows[::-1])
    assert read(sides, tmp_path)[1]["scores"] == before["scores"]


def change_keys(rows):
    return [row | {"key": f"x{row['key']}"} for row in rows[:3]] + rows[3:]


def change_pairs(rows):
    return [row | {"background": "elsewhere"} for row in rows]


def change_size(rows):
    return [row | {"mask_fraction": row["mask_fraction"] * 1.01} for row in rows]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_keys, "240 and 240, of which 6 are in one of them alone, such as 0000"),
        (lambda rows: rows[:100], "240 and 100, of which 140 are in one of them alone"),
        (change_pairs, "240 of 240 show another background or cut-out, such as 0000 (c0 in b0 and c0 in elsewhere)"),
        (change_size, "240 of 240 show them differently, such as 0000 (c0 in b0)"),
    ],
)
def test_test_sets_that_differ_are_refused_in_one_line(tmp_path, capsys, change, said):
    a = write_results(tmp_path / "a", make_rows({}))
    b = write_results(tmp_path / "b", change(make_rows({})), "seed: 1\n")
    assert compare([str(a), str(b)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and "(seed: 0 and 1; with split.seed set, another seed leaves them the same)" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("key,background,cutout\n1,a,b\n", "has no scores"),
        ("key,mask_iou\n1,0.5\n", "lacks the column background"),
        ("key,background,cutout,mask_iou\n1,a,b,good\n", "image 1: mask_iou: good is not a number"),
        ("key,background,cutout,mask_iou\n", "has no rows"),
    ],
)
def test_a_broken_table_is_one_line(sides, tmp_path, capsys, content, said):
    broken = tmp_path / "per_image.csv"
    broken.write_text(content)
    assert compare([str(sides[0]), str(broken)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {broken}: ") and said in line


def test_a_name_that_is_nothing_is_one_line(sides, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compare(["nothing", str(sides[1])]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nothing: ")


def test_images_scored_on_one_side_alone_are_left_out(tmp_path):
    rows, others = make_rows({}), make_rows({"mask_iou": 0.1}, noise=0.0)
    for row in rows[:40]:
        row["mask_iou"] = ""
    sides = write_results(tmp_path / "a", rows), write_results(tmp_path / "b", others)
    _, found = read(sides, tmp_path)
    assert found["scores"]["mask_iou"]["num_images"] == 200
    assert found["scores"]["mask_iou"]["a"] == pytest.approx(np.mean([row["mask_iou"] for row in rows[40:]]), abs=1e-5)


def test_markdown_and_json_can_take_the_place_of_the_table(sides, capsys):
    assert compare([*map(str, sides), "--markdown", "-"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### ") and "| mask IoU | " in printed and "| **better** |" in printed
    assert compare([*map(str, sides), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == NUM_IMAGES


def test_the_page_has_every_score_and_no_address(sides, tmp_path):
    assert compare([*map(str, sides), "--page", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "mask IoU" in page and '<b class="worse">worse</b>' in page
    assert "There are no maps of the same images in both." in page
    assert "http://" not in page and "https://" not in page
