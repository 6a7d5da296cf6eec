"""Whether a command of a document could be typed: its target, its subcommand and its options are asked of the tool itself."""

from __future__ import annotations

import argparse
import importlib
import itertools
import re
import tomllib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from depthmask.base.errors import UserError
from depthmask.cli import COMMANDS
from depthmask.params import make_params
from depthmask.params.plain_yaml import parse_yaml

ROOT = Path(__file__).resolve().parents[1]
# of the shell and of others: what they take is not ours to check
KNOWN = {"cat", "cd", "chgrp", "chmod", "cmp", "cp", "df", "find", "git", "hf", "kill", "ls", "mkdir", "mv"}
KNOWN |= {"apptainer", "docker", "export", "id", "rm", "sbatch", "sed", "source", "ssh", "tail", "tensorboard", "time", "tmux"}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class _Parser(BaseException):
    """Carries the parser out of a command's main, past everything that catches errors."""

    def __init__(self, parser: argparse.ArgumentParser):
        super().__init__()
        self.parser = parser


def find_fault_of_command(words: Sequence[str], *, whole: bool) -> str | None:
    """Why a command could not be typed; None if it can, or if it is not known here. whole: nothing is left out of it."""
    words = list(words)
    while words and ASSIGNMENT.match(words[0]):
        words.pop(0)
    if not words:
        return None
    name, words = _name_tool(words[0]), words[1:]
    return CHECKS[name](words, whole and "..." not in words) if name in CHECKS else None


def is_known(words: Sequence[str]) -> bool:
    """Whether the first word of a command, behind assignments, is a command that documents may use."""
    first = next((word for word in words if not ASSIGNMENT.match(word)), None)
    return first is None or _name_tool(first) in {*CHECKS, *KNOWN} or first[0] in "<>"


def _name_tool(word: str) -> str:
    """The tool that a first word calls: without the environment's folder, and without Python's version."""
    return re.sub(r"^python3[.\d]*$", "python", word.removeprefix(".venv/bin/"))


def _check_make(words: list[str], whole: bool) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        if ASSIGNMENT.match(word):
            variable = word.partition("=")[0]
            if not re.search(rf"^{variable} \?=|\$\({variable}\)", makefile, re.MULTILINE):
                return f"make: no variable {variable}"
        elif not word.startswith("-") and not word.isupper() and not re.search(rf"^{word}:", makefile, re.MULTILINE):
            return f"make: no target {word}"
    return None


def _check_depthmask(words: list[str], whole: bool) -> str | None:
    if not words or words[0].isupper() or words[0].startswith("-"):
        return None
    if words[0] not in COMMANDS:
        return f"depthmask: no command {words[0]}"
    return _check_arguments(_find_parser(COMMANDS[words[0]][0]), words[1:], whole)


def _check_python(words: list[str], whole: bool) -> str | None:
    if words[:1] == ["-m"] and len(words) > 1:
        module = words[1]
        place = ROOT / "workflow" / Path(*module.split("."))
        if place.with_suffix(".py").exists() or (place / "__main__.py").exists():
            ours = module != "depthmask" and not module.startswith("stages.")
            return _check_arguments(_find_parser(module), words[2:], whole) if ours else None
        if module == "pytest":
            paths = [word.split("::")[0] for word in words[2:] if "/" in word]
            return next((f"pytest: no {path}" for path in paths if not (ROOT / path).exists()), None)
        theirs = module.split(".")[0] not in ("depthmask", "stages") and find_spec(module.split(".")[0])
        return None if theirs else f"python: no module {module}"
    script = next((word for word in words if word.endswith(".py")), None)
    if script is None:
        return None
    if not (ROOT / script).exists():
        return f"python: no file {script}"
    text = (ROOT / script).read_text(encoding="utf-8")
    return next((f"{script}: no option {word}" for word in words if word.startswith("--") and f'"{word}"' not in text), None)


def _check_dvc(words: list[str], whole: bool) -> str | None:
    from dvc.cli.parser import get_main_parser

    parser = get_main_parser()
    while words and not words[0].startswith("-"):
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not below:
            break
        if words[0] not in below[0].choices:
            return f"{parser.prog}: no subcommand {words[0]}"
        parser, words = below[0].choices[words[0]], words[1:]
    fault = _check_options(parser, words)
    set_params = [value for option, value in itertools.pairwise(words) if option in ("-S", "--set-param")]
    return fault or next(filter(None, map(_check_set_param, set_params)), None)


def _check_snakemake(words: list[str], whole: bool) -> str | None:
    return _check_options(_find_snakemake_parser(), words)


def _check_pip(words: list[str], whole: bool) -> str | None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = [name for word in words for extra in re.findall(r"^\.\[([\w,]+)\]$", word) for name in extra.split(",")]
    return next((f"pip: no extra {name}" for name in named if name not in extras), None)


def _check_set_param(change: str) -> str | None:
    """Why `-S key=value` would not do."""
    key, _, value = change.partition("=")
    values = parse_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"), "params.yaml")
    *sections, last = key.split(".")
    inner = values
    for section in sections:
        inner = inner.get(section, {})
    inner[last] = parse_yaml(value, change)
    if sections and sections[0] not in values:
        return f"-S {change}: no section {sections[0]}"
    try:
        make_params(values, f"-S {change}")
    except UserError as error:
        return str(error)
    return None


def _check_arguments(parser: argparse.ArgumentParser, words: list[str], whole: bool) -> str | None:
    fault = _check_options(parser, words)
    if fault or not whole or "--help" in words:
        return fault
    try:
        with mock.patch.object(parser, "error", side_effect=ValueError):
            parser.parse_args(words)
    except ValueError as error:
        return f"{parser.prog}: {error}"
    return None


def _check_options(parser: argparse.ArgumentParser, words: list[str]) -> str | None:
    options = [word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)]
    return next((f"{parser.prog}: no option {name}" for name in options if name not in parser._option_string_actions), None)


@lru_cache
def _find_parser(module: str) -> argparse.ArgumentParser:
    """The parser that a module's main makes."""

    def catch(parser, *args, **kwargs):
        raise _Parser(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch):
        try:
            importlib.import_module(module).main([])
        except _Parser as caught:
            return caught.parser
    raise AssertionError(f"{module}.main([]) parses nothing")


@lru_cache
def _find_snakemake_parser() -> argparse.ArgumentParser:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


CHECKS: dict[str, Callable[[list[str], bool], str | None]] = {
    "make": _check_make,
    "depthmask": _check_depthmask,
    "python": _check_python,
    "torchrun": lambda words, whole: None,  # what it starts is a stage with its own arguments, which stand in dvc.yaml
    "dvc": _check_dvc,
    "snakemake": _check_snakemake,
    "pip": _check_pip,
}
