"""docs/troubleshooting.md quotes messages that the code can print, and enough of them."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from reading_documents import ROOT, read_pages

from depthmask.base.errors import ParamsError
from depthmask.commands.export import main as export
from depthmask.params import Params, make_params
from depthmask.params.reading import read_yaml

PAGE = read_pages()["docs/troubleshooting.md"]
LINES = [line for block in PAGE.blocks if block.info == "console" for line in block.text.splitlines()]
# modules of the tools whose messages the page quotes
TOOLS = {
    "dvc": [
        "exceptions.py",
        "lock.py",
        "rwlock.py",
        "repo/__init__.py",
        "repo/reproduce.py",
        "stage/exceptions.py",
        "data_cloud.py",
    ],
    "snakemake": ["exceptions.py", "api.py"],
}
LETTERS_MIN = 9  # of a template beside its placeholders: with fewer it would fit anything
RAISED = re.compile(r"(Error|Interrupted|print_line|log)$")
SHARE_MIN = 0.25  # of the error messages of the code that the page quotes


def list_templates(source: str, *, raised: bool = False) -> Iterator[str]:
    """The texts of a module as regular expressions, placeholders fitting anything; raised: only those that errors are made of."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }
    roots = [tree]
    if raised:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [(getattr(call.func, "id", None) or getattr(call.func, "attr", ""), call) for call in calls]
        roots = [argument for name, call in named if RAISED.search(name) for argument in call.args]
    begun = {id(node.left) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}  # a condition decides how it goes on
    inner = {id(part) for root in roots for node in ast.walk(root) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for root in roots:
        for node in ast.walk(root):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else _fill(part, constants) for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | docstrings:
                parts = [re.sub(r"\{\w*\}|%s", "\0", node.value)]
            else:
                continue
            parts += ["\0"] if id(node) in begun else []
            for line in "".join(parts).split("\n"):
                if len(re.findall("[A-Za-z]", line)) >= LETTERS_MIN:
                    yield re.escape(line.strip()).replace("\0", ".+")


def _fill(part: ast.FormattedValue, constants: dict) -> str:
    """A placeholder: the text of a constant of the module, or anything."""
    name = part.value.id if isinstance(part.value, ast.Name) else None
    return constants[name] if isinstance(constants.get(name), str) else "\0"


@cache
def list_ours(raised: bool = False) -> frozenset[str]:
    folders = (ROOT / "workflow", ROOT / "profiles")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.rglob("*.py"))]
    return frozenset(template for source in sources for template in list_templates(source, raised=raised))


@cache
def list_theirs() -> frozenset[str]:
    folders = {name: Path(importlib.util.find_spec(name).origin).parent for name in TOOLS}
    sources = [(folders[name] / path).read_text(encoding="utf-8") for name, paths in TOOLS.items() for path in paths]
    return frozenset(template for source in sources for template in list_templates(source))


@cache  # of our own: more than re keeps
def compile_ours(template: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*[:.] ?)?{template}")


def fits_ours(line: str, template: str) -> bool:
    """The message to its end; before it stand the file and the keys that lead to the value."""
    return bool(compile_ours(template).fullmatch(re.sub(r"^(error|warning|hint): ", "", line)))


def fits_theirs(line: str, template: str) -> bool:
    """How the message begins: the tools go on with paths and links."""
    message = re.sub(r"^(ERROR: failed to reproduce '\w+'|ERROR|Error|WARNING|RuntimeError): ", "", line)
    return bool(re.match(template, message) or re.match(template, line))


@cache
def list_told() -> frozenset[str]:
    """What pydantic tells, in whose words our code has no part: of a changed params.yaml."""
    values = read_yaml(ROOT / "params.yaml", Params)
    values["pretrain"]["epochs"] = "six"
    with pytest.raises(ParamsError) as printed:
        make_params(values, "params.yaml")
    return frozenset([f"error: {printed.value}"])


def is_printed(line: str) -> bool:
    ours, theirs = list_ours(), list_theirs()
    return any(fits_ours(line, text) for text in ours) or any(fits_theirs(line, text) for text in theirs) or line in list_told()


def test_every_quoted_message_is_one_that_is_printed():
    assert [line for line in LINES if not is_printed(line)] == [], "no text of the code fits; correct docs/troubleshooting.md"


def test_messages_that_are_not_printed_are_found():
    wrong = [
        "error: m.safetensors: no such file; run make repro to train it, or choose another model file",
        "error: pretrain: the loss is nan at epoch 1, step 3; lower the learning rate",
        "error: photos/*.jpg: matches no files",
        "ERROR: Unable to get the lock.",
    ]
    assert [line for line in wrong if is_printed(line)] == []


def test_enough_of_the_messages_are_quoted():
    errors = list_ours(raised=True)
    quoted = {template for template in errors if any(fits_ours(line, template) for line in LINES)}
    share = len(quoted) / len(errors)
    print(f"{len(quoted)} of {len(errors)} error messages are quoted, {share:.0%}; not:", *sorted(errors - quoted), sep="\n  ")
    assert share >= SHARE_MIN


def test_what_is_documented_without_a_model_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert export(["--out", "model.onnx"]) == 1
    assert capsys.readouterr().err.strip() in LINES
