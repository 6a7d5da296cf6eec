"""docs/losses_and_metrics.md and the comments of params.yaml name every loss and every score, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from depthmask.registry.losses import LOSSES
from depthmask.scores import PREFIXES, SUFFIXES, list_scores

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/losses_and_metrics.md").read_text(encoding="utf-8")


def list_first_cells(heading: str) -> dict[str, str]:
    """Of the first table below a heading: the names in code of each row's first cell, with the row."""
    rows = re.search(rf"^#+ {heading}\n.*?\n\| ---.*?\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)[1].splitlines()
    return {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_loss_has_a_row_that_names_its_tasks():
    rows = list_first_cells("Losses")
    assert set(rows) == {term.name for term in LOSSES}
    for name, row in rows.items():
        of = row.split("|")[2].strip().split(", ")
        assert of == [term.task for term in LOSSES if term.name == name], name


def test_every_published_score_has_a_row():
    assert set(list_first_cells("The authors' own definitions")) == {spec.name for spec in list_scores("published")}


def test_every_protocol_has_a_row():
    rows = re.search(r"^### Depth protocols\n.*?\n\| ---.*?\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)[1]
    first = {name for row in rows.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    protocols = {f"{prefix}..." for prefix in PREFIXES if prefix not in ("", "fg_")} | {f"...{end}" for end in SUFFIXES if end}
    assert first == protocols | {"delta1", "silog", "boundary_f1"}


@pytest.mark.parametrize("family", ["mask", "depth"])
def test_every_other_score_is_named(family):
    assert {spec.name for spec in list_scores(family) if f"`{spec.name}`" not in PAGE} == set()


def test_the_comments_of_params_yaml_name_every_loss():
    section = re.search(r"^loss:.*?^  foreground:", (ROOT / "params.yaml").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[
        0
    ]
    assert {term.name for term in LOSSES if not re.search(rf"\b{term.name}\b", section)} == set()
