"""Files that people write, read strictly: what each scalar is, what is refused, and where the message says it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from dvc.utils.serialize import modify_yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import JsonError, read_json
from depthmask.cross_validation.params import CrossValidationParams
from depthmask.leaderboard.params import LeaderboardParams
from depthmask.params import Params, load_params
from depthmask.params.patterns import SlowPatternError, check_pattern, limit_matching
from depthmask.params.plain_yaml import parse_yaml
from depthmask.params.reading import read_yaml
from depthmask.recipe_yaml import change_values

ROOT = Path(__file__).resolve().parents[2]

READ = {
    "8": 8,
    "-8": -8,
    "+8": 8,
    "0": 0,
    "0.5": 0.5,
    "5.": 5.0,
    "1e3": 1000.0,
    "1E-3": 0.001,
    "-1.5e+2": -150.0,
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "abc": "abc",
    "a b": "a b",
    "1.2.3": "1.2.3",
    "'010'": "010",
    '"yes"': "yes",
    "'2001-01-01'": "2001-01-01",
    "[1, a]": [1, "a"],
    "{b: 1.5}": {"b": 1.5},
    "é": "é",
}
REFUSED = {
    "010": "a: 010: is ambiguous",
    "0o10": "is ambiguous",
    "0x1F": "is ambiguous",
    "1_000": "is ambiguous",
    "1:30": "is ambiguous",
    ".5": "is ambiguous",
    "+.5": "is ambiguous",
    ".4E26": "is ambiguous",
    "yes": "a: yes: is ambiguous",
    "Off": "is ambiguous",
    "y": "is ambiguous",
    "=": "is ambiguous",
    "2001-02-30": "would be a date",
    "2001-01-01 10:00": "would be a date",
    ".inf": "finite number",
    ".NaN": "finite number",
    "9" * 30: "number out of range",
    "1e999": "number out of range",
    "1e-999": "number out of range",
    "!!timestamp abc": "!!timestamp is a tag",
    "!!int ''": "!!int is a tag",
    "&x 1": "anchors and aliases",
    "*x": "anchors and aliases",
    "{<<: {}}": "is ambiguous",
    "{1: 2}": "a: 1: key is not text",
    "{null: 2}": "a: null: key is not text",
    "{[x]: 2}": "key is not text",
    "{b: 1, b: 2}": "a.b: duplicate key",
    r'"\0"': "the control character U+0000",
    r'"x\ny"': "more than one line",
    "x" * 5000: "5,000 characters",
    "[" * 40: "more than 32 nested lists",
    "[": "is not YAML",
}


@pytest.mark.parametrize(("text", "value"), READ.items(), ids=range(len(READ)))
def test_what_is_read(text, value):
    read = parse_yaml(f"a: {text}\n", "p.yaml")["a"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(("text", "printed"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_rejected_names_file_line_and_key(text, printed):
    with pytest.raises(ParamsError) as error:
        parse_yaml(f"# first\n\nb: 1\na: {text}\n", "p.yaml")
    message = str(error.value)
    assert message.startswith(("p.yaml: line 4: ", "p.yaml: line 5: is not YAML")) and "\n" not in message and len(message) < 300
    assert printed in message


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a: 1\n---\nb: 2\n", "line 2: a second document"),
        ("%YAML 1.1\n---\na: 1\n", "line 1: a line that begins with %"),
        ("a: 1\nb:\tc\n", "line 2: contains a tab"),
        ("a: 1\nb: \x07\n", "line 2: contains the character U\\+0007"),
        ("a: 1\u2028b: 2\n", "line 1: contains the character U\\+2028"),
        ("\ufeffa: 1\n", "a byte order mark"),
        ("1: 2\n", "line 1: 1: key is not text"),
    ],
)
def test_a_text_that_is_not_plain_is_rejected(text, printed):
    with pytest.raises(ParamsError, match=printed):
        parse_yaml(text, "p.yaml")


def test_a_tab_in_a_comment_disturbs_nobody():
    assert parse_yaml("a: 1  # \tb\n", "p.yaml") == {"a": 1}


def test_reading_imports_nothing_large():
    code = (
        "import sys; from depthmask.params import load_params; load_params(); assert not {'torch', 'cv2', 'dvc'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": "workflow"}, check=True)


# what other programs write into params.yaml


def test_what_dvc_writes_is_read(tmp_path):
    """`dvc exp run -S` changes a file in this way."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    changes = {
        "learning_rate": 1e-05,
        "weight_decay": 0.0,
        "clip_norm": None,
        "augment": False,
        "milestones": [1, 2],
        "epochs": 3,
    }
    with modify_yaml(path) as values:
        values["pretrain"].update(changes)
        values["report"]["title"] = "010: a 'title' # of mine"
    read = load_params(path)
    assert {key: getattr(read.pretrain, key) for key in changes} == changes
    assert read.report.title == "010: a 'title' # of mine"


@pytest.mark.parametrize(
    "text", ["yes", "010", "0o10", "1e3", "1_000", "2001-01-01", "null", "", "=", "a: b", "# x", "é", "1:30", ".5", "~"]
)
def test_a_text_that_looks_like_something_else_is_written_in_quotes(text):
    changed = change_values("a: x\nb: 1\n", {"a": text, "b": 1, "c": [text]}, "p.yaml")
    assert parse_yaml(changed, "p.yaml") == {"a": text, "b": 1, "c": [text]}


# values of fields that Python takes for each other


def list_literals(model: type[BaseModel], seen: set | None = None) -> Iterator[tuple[str, Any, tuple]]:
    """(name, field, allowed values) of each field of a schema with a fixed set of numbers or truth values."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and any(not isinstance(one, str) for one in get_args(field.annotation)):
            yield f"{model.__name__}.{name}", field, get_args(field.annotation)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from list_literals(part, seen)


def test_true_is_no_1_and_1_is_no_true():
    found = {
        name: (field, allowed)
        for model in (Params, LeaderboardParams, CrossValidationParams)
        for name, field, allowed in list_literals(model)
    }
    assert "TrainParams.loss_upscale" in found
    for name, (field, allowed) in found.items():
        adapter = TypeAdapter(field.rebuild_annotation())
        for one in allowed:
            assert adapter.validate_python(one) is one
            for other in (True, False, 1, 0, 1.0, 0.0, 2.0, 4.0):
                if type(other) is not type(one) and other == one:
                    with pytest.raises(ValidationError):
                        adapter.validate_python(other)
                    print(name, one, other)


@pytest.mark.parametrize("changes", ["loss_upscale: true", "loss_upscale: 1.0", "{self: 1}", "epochs: true", "epochs: 1.0"])
def test_a_further_phase_is_as_strict(tmp_path, changes):
    path = tmp_path / "params.yaml"
    phase = changes if changes.startswith("{") else f"{{{changes}}}"
    path.write_text((ROOT / "params.yaml").read_text().replace("more_phases: []", f"more_phases: [{phase}]"))
    with pytest.raises(ParamsError, match=r"pretrain.more_phases.0\.") as error:
        load_params(path)
    assert "\n" not in str(error.value)


# regular expressions

SLOW = ["(a+)+$", r"(\w+\s?)*$", "(a|a)*$", "(.*a){20}x", "(x{1,99}){1,99}y", r"(\W+)+$", "(é+)+$"]
BAD = ["a{99999999999}", "(" * 150, "[[a]]", "(?P<1>x)", "(?<=a*)b", r"\p{L}", "x(?i)", "*"]


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_without_end_is_rejected(pattern):
    with pytest.raises(ValueError, match="takes too long"):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", BAD)
def test_a_pattern_that_is_none_is_rejected(pattern):
    with pytest.raises(ValueError, match="is not a regular expression"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", [r"^(.+?)_\d+$", r"scene(\d+)", r"(?i)^([a-z]+)[-_]", r"^(.*)_(.*)_(.*)\.", "(" * 90 + ")" * 90]
)
def test_a_sound_pattern_passes(pattern):
    assert check_pattern(pattern) == pattern


def test_a_pattern_that_is_slow_on_the_names_ends_in_a_line():
    import re

    with pytest.raises(SlowPatternError, match="takes too long on the names here"), limit_matching("(q+)+$", seconds=0.1):
        re.search("(q+)+$", "q" * 60 + "!")


# JSON


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("{", "line 1: Expecting property name"),
        ('{"a": 1,\n"a": 2}', "duplicate key 'a'"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1e999}', "is too large"),
        ("9" * 5000, "a number of 5,000 digits"),
        ("[" * 100_000, "lists and mappings nested too deeply"),
        ("", "Expecting value"),
    ],
)
def test_json_is_rejected_in_a_line(tmp_path, text, printed):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(JsonError, match=printed) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: is not JSON (") and "\n" not in str(error.value)
    assert isinstance(error.value, UserError) and isinstance(error.value, ValueError)


def test_json_of_another_encoding_and_what_is_no_file(tmp_path):
    (tmp_path / "x.json").write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(JsonError, match="byte 2 is not UTF-8"):
        read_json(tmp_path / "x.json")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            read_json(path)


def test_every_yaml_file_of_the_project_is_plain():
    files = [
        ROOT / "params.yaml",
        ROOT / "leaderboard/params.yaml",
        ROOT / "cross_validation/params.yaml",
        *sorted((ROOT / "workflow/recipes").glob("*.yaml")),
    ]
    assert len(files) > 10
    for path in files:
        assert read_yaml(path, Params) == yaml.safe_load(path.read_text())
