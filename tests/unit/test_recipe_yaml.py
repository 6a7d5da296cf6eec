"""Values changed in YAML text: everything that is not changed stays as it was, letter by letter."""

from __future__ import annotations

import pytest
import yaml

from depthmask.base.errors import UserError
from depthmask.recipe_yaml import change_values, format_flow

TEXT = """\
# A file.
seed: 0                         # of all

loss:                           # weights
  # of the mask
  mask:                         # terms
    bce: 2.0                    # first
    dice: 2.0

  depth: {l1: 1.0}
pretrain:
  rate: 0.001   # short
  milestones: []                # epochs
  phases:                       # further ones
  - {size: 32, epochs: 1}       # lost when the list is replaced
  - {size: 64}
  names: ["a b", 'c']
  loss:                         # own

# the end
last: {}
"""
VALUES = yaml.safe_load(TEXT)


def change(**changes) -> tuple[str, dict]:
    """The text after changes of whole sections, and the values that it should have."""
    wanted = {**VALUES, **changes}
    return change_values(TEXT, wanted, "x.yaml"), wanted


def list_differences(text: str) -> tuple[list[str], list[str]]:
    """The lines that are gone, and those that are new."""
    old, new = TEXT.splitlines(), text.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_the_same_values_give_the_same_text():
    assert change()[0] == TEXT


def test_a_scalar_changes_in_its_line_and_the_comment_keeps_its_column():
    text, wanted = change(seed=7)
    assert yaml.safe_load(text) == wanted
    assert list_differences(text) == (["seed: 0                         # of all"], ["seed: 7                         # of all"])
    text, _ = change(pretrain={**VALUES["pretrain"], "rate": 0.0002})
    assert "  rate: 0.0002  # short\n" in text
    text, _ = change(pretrain={**VALUES["pretrain"], "rate": 123456789012})
    assert "  rate: 123456789012 # short\n" in text


@pytest.mark.parametrize("value", [1, 1.0, 1e-05, 1e20, True, None, "", "a b", "1", "null", "on", "a: b", "# no", "ü", -3, "x"])
def test_scalars_come_back_with_their_types(value):
    text, wanted = change(seed=value)
    read = yaml.safe_load(text)["seed"]
    assert (read, type(read)) == (value, type(value))
    assert yaml.safe_load(text) == wanted


def test_an_integer_becomes_a_float_of_the_same_value():
    assert "seed: 0.0 " in change(seed=0.0)[0]
    assert "seed: false " in change(seed=False)[0]


def test_keys_come_and_go_where_they_stand():
    text, wanted = change(loss={"mask": {"dice": 2.0, "mse": 1.0}, "depth": {"l1": 0.5, "ssim": 1.0}})
    assert yaml.safe_load(text) == wanted
    assert list_differences(text) == (
        ["    bce: 2.0                    # first", "  depth: {l1: 1.0}"],
        ["    mse: 1.0", "  depth:", "    l1: 0.5", "    ssim: 1.0"],
    )
    assert "    dice: 2.0\n    mse: 1.0\n\n  depth:\n    l1: 0.5\n    ssim: 1.0\npretrain:\n" in text
    text, wanted = change(loss={"mask": {"mse": 1.0}, "depth": {}})
    assert yaml.safe_load(text) == wanted
    assert "  mask:                         # terms\n    mse: 1.0\n\n  depth: {}\npretrain:\n" in text


def test_lists_with_an_item_a_line_and_empty_ones_in_the_line():
    section = {**VALUES["pretrain"], "milestones": [1, 2], "phases": [], "names": []}
    text, wanted = change(pretrain=section)
    assert yaml.safe_load(text) == wanted
    lines = ["  milestones:                   # epochs", "  - 1", "  - 2", "  phases: []                    # further ones"]
    assert "\n".join([*lines, "  names: []", ""]) in text
    section["phases"] = [{"size": 16, "tasks": "mask"}, {"more": [1]}]
    text, wanted = change(pretrain=section)
    assert yaml.safe_load(text) == wanted
    assert "# further ones\n  - size: 16\n    tasks: mask\n  - more:\n    - 1\n  names" in text


def test_nothing_becomes_a_mapping_and_back():
    own = {"mask": {"l1": 1.0}, "depth": {}, "balance": {"max": 4.0}, "more": None}
    text, wanted = change(pretrain={**VALUES["pretrain"], "loss": own}, last={"a": {"b": [1]}})
    assert yaml.safe_load(text) == wanted
    assert (
        "  loss:                         # own\n    mask:\n      l1: 1.0\n    depth: {}\n    balance:\n      max: 4.0\n" in text
    )
    assert text.endswith("    more:\n\n# the end\nlast:\n  a:\n    b:\n    - 1\n")
    assert change_values(text, VALUES, "x.yaml") == TEXT


def test_new_sections_stand_at_the_end_and_removed_ones_leave_the_rest():
    text = change_values(TEXT, {**{k: v for k, v in VALUES.items() if k != "loss"}, "new": {"a": 1}}, "x.yaml")
    assert yaml.safe_load(text)["new"] == {"a": 1}
    assert text.startswith("# A file.\nseed: 0                         # of all\n\npretrain:\n")
    assert text.endswith("# the end\nlast: {}\nnew:\n  a: 1\n")


@pytest.mark.parametrize("text", ["a: &x {b: 1}\nc: *x\n", "a: [1\n", "- 1\n", "", "{a: 1, b: 2}\n", "1\n"])
def test_what_cannot_be_changed_line_by_line_is_rejected_in_one_line(text):
    with pytest.raises(UserError, match=r"^x\.yaml: ") as error:
        change_values(text, {"a": {"b": 2}, "c": {"b": 1}}, "x.yaml")
    assert "\n" not in str(error.value)


def test_a_file_without_a_last_line_end():
    assert change_values("a: 1\nb: 2", {"a": 1, "b": 2, "c": 3}, "x") == "a: 1\nb: 2\nc: 3\n"
    assert change_values("a: 1\nb: 2", {"a": 3, "b": 2}, "x") == "a: 3\nb: 2\n"


def test_long_values_stay_in_one_line():
    assert "\n" not in format_flow({"a": list(range(100)), "b": "long text " * 30})
