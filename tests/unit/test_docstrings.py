"""Every module of ours, and every class and function that others may use, says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "workflow").rglob("*.py"))
SAID_BY_THE_MODULE = {"main", "make_parser"}  # of a command: its module's docstring and --help say what it does


def list_silent(source: str) -> Iterator[str]:
    """The names in a module that lack a docstring; "" is the module.

    A section of params is described key by key in docs/params_reference.md, whose test misses no key.
    """
    tree = ast.parse(source)
    if tree.body and not ast.get_docstring(tree):
        yield ""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_") or ast.get_docstring(node):
            continue
        bases = [ast.unparse(base) for base in getattr(node, "bases", [])]
        is_section = any(base == "Section" or base.endswith(("Params", "Weights")) for base in bases)
        if node.name not in SAID_BY_THE_MODULE and not is_section:
            yield node.name


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_silent(module):
    assert list(list_silent((ROOT / module).read_text(encoding="utf-8"))) == []


def test_what_is_silent_is_found():
    source = (
        "class A:\n    x = 1\ndef f():\n    pass\ndef _g():\n    pass\nclass B(Section):\n    y: int\ndef main():\n    pass\n"
    )
    assert list(list_silent(source)) == ["", "A", "f"]
    assert list(list_silent('"""What."""\ndef f():\n    """Why."""\n')) == []
