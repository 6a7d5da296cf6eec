"""A record changed in the text of dvc.lock gives the bytes that DVC would write."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml, modify_yaml, parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from depthmask.dvc_in_process import _modify_atomically
from depthmask.lock_records import HEAD, read_records

ROOT = Path(__file__).resolve().parents[2]
NAMES = st.sampled_from(["check", "train@a", "train@u-net.2", "download_other@rooms", "y2", "_z"])
TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=200) | st.sampled_from(
    ["no", "1.0", "a: b", "", "- x", "x" * 300, "two\nlines\n", "\ttab", "python -m stages.train --raw data/raw " * 8]
)
FLOATS = st.sampled_from(
    [0.1, 2.5, 1e-05, 0.0003, -1.0]
)  # of 17 digits, DVC's writer changes the last in records that it only copies
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | FLOATS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {
        "cmd": TEXTS,
        "deps": st.lists(st.fixed_dictionaries({"path": TEXTS, "md5": st.just("0" * 32), "size": st.integers(0)}), max_size=2),
        "params": st.dictionaries(st.just("params.yaml"), st.dictionaries(TEXTS, VALUES, max_size=3)),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, RECORDS, min_size=1), st.lists(st.tuples(NAMES, RECORDS), min_size=1, max_size=3))
def test_the_bytes_are_those_that_dvc_writes(tmp_path_factory, before, changes):
    path = tmp_path_factory.getbasetemp() / "dvc.lock"
    path.write_text(dumps_yaml({"schema": "2.0", "stages": before}), encoding="utf-8")
    records = read_records(path.read_text(encoding="utf-8"))
    with modify_yaml(path) as data:
        for name, record in changes:
            data["stages"].update(OrderedDict({name: record}))
    if records is None:
        return  # left to DVC
    assert list(records) == list(before) and all(records[name] == record for name, record in before.items())
    for name, record in changes:
        records.update(OrderedDict({name: record}))
    assert records.format() == path.read_text(encoding="utf-8")


def test_the_projects_own_file_is_taken_apart_and_a_change_of_one_record_changes_no_other_line():
    text = (ROOT / "dvc.lock").read_text(encoding="utf-8")
    records = read_records(text)
    assert dict(records) == parse_yaml(text, "dvc.lock")["stages"] and records.format() == text
    records["report"] = {**records["report"], "cmd": "true"}
    changed = set(records.format().splitlines()) - set(text.splitlines())
    assert changed == {"    cmd: true"} or changed == {"    cmd: 'true'"}
    records["new"] = {"cmd": "echo"}
    assert records.format().endswith("  new:\n    cmd: echo\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stages: {}\n",
        "schema: '2.0'\n",
        f"{HEAD}  a:\n    cmd: x  # mine\n",
        f"{HEAD}# mine\n  a:\n    cmd: x\n",
        f"{HEAD}  a:\n    cmd: x\ndatasets:\n- name: y\n",
        f"{HEAD}  a:\n    cmd: x\n  a:\n    cmd: y\n",
        f"{HEAD}  'a b':\n    cmd: x\n",
        f"{HEAD}  a: {{cmd: x}}\n",
        f"{HEAD}  a:\n    cmd: x",
        f"{HEAD}  a:\n    cmd: x\n <<<<<<< HEAD\n",
    ],
)
def test_what_dvc_does_not_write_is_left_to_dvc(text):
    assert read_records(text) is None


@pytest.mark.parametrize("more", [{}, {"datasets": [{"name": "x"}]}], ids=["a stage", "more than stages"])
@pytest.mark.parametrize(
    "text",
    [None, "", f"{HEAD}  a:\n    cmd: x\n  b:\n    cmd: y\n", f"{HEAD}  a:\n    cmd: x  # mine\n"],
    ids=["no file", "empty", "records", "a comment"],
)
def test_a_job_writes_the_file_as_dvc_does(tmp_path, text, more):
    written = []
    for modify in (modify_yaml, _modify_atomically):
        path = tmp_path / f"{modify.__name__}.lock"
        if text is not None:
            path.write_text(text)
        with modify(path) as data:
            if not data:
                data.update({"schema": "2.0"})
            data["stages"] = data.get("stages", {})
            assert data["stages"].get("c", {}) == {}
            data["stages"].update(OrderedDict({"a": OrderedDict({"cmd": "z", "deps": [OrderedDict({"path": "p"})]})}))
            data.update(more)
        written.append(path.read_text())
    assert written[0] == written[1] and "cmd: z" in written[0]
