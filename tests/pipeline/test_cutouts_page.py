"""docs/cutouts.md, followed in a small clone from a COCO set to scores: its code, its commands, its changes of params.yaml."""

from __future__ import annotations

import json

import pytest
from reading_pages import list_steps
from test_your_own_photos import follow
from tiny_project import ROOT, make_clone

from depthmask.base.files import read_csv

pytestmark = pytest.mark.slow

STEPS = list_steps(ROOT / "docs/cutouts.md")


def test_the_page_leads_from_coco_to_scores(tmp_path):
    root = make_clone(tmp_path / "clone")
    output = follow(root, [step for step in STEPS if step[0].startswith(("1. ", "2. ", "3. "))])
    assert "8 cut-outs and 8 backgrounds from 16 pictures" in output
    rows = {part: read_csv(root / f"data/split/{part}.csv") for part in ("train", "validation", "test")}
    assert sorted(map(len, rows.values())) and sum(map(len, rows.values())) == 16
    assert {row["key"] for part in rows.values() for row in part if row["role"] == "cutout"} == {
        f"{number:03d}__01" for number in range(1, 16, 2)
    }
    test = json.loads((root / "reports/metrics.json").read_text())["test"]
    assert 0 <= test["mask"]["iou"] <= 1
    assert "<figure>" in (tmp_path / "cutouts/cutouts.html").read_text()
