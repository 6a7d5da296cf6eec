"""What the README says is there is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def test_the_tree_names_what_exists():
    tree = re.search(r"```text\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)[1]
    missing, parents = [], []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.split(r"\s{2,}", line.strip())[0].split()
        parents = [p for p in parents if p[0] < indent]
        base = PROJECT.joinpath(*(p[1] for p in parents))
        for name in names:
            if not (base / name).exists():
                missing.append(str((base / name).relative_to(PROJECT)))
        parents.append((indent, names[-1]))
    assert missing == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    broken = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_make_targets_and_commands_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert {target for pair in named for target in pair if target} <= targets
    from depthmask.cli import COMMANDS

    assert set(re.findall(r"depthmask ([a-z-]+)[ `]", page.read_text())) - {"command"} <= set(COMMANDS)
