"""Names from outside: what becomes of them as file names, and that no joined path leads out of its folder."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from depthmask.base.errors import UserError
from depthmask.download.names import (
    NAME_BYTES_MAX,
    find_fault,
    fold,
    join_inside,
    make_name,
    make_unique,
    show_name,
)

EVIL = (
    *("", ".", "..", "/", "\\", "../..", "/etc/passwd", "../../../workflow/yaml.zip", "C:\\x\\..\\y.zip", "a/..", "a\\.."),
    *("\x00", "a\x00b.zip", "\x1b[2Jx.zip", "x\u202egnp.zip", "\udc80\udcff", "\u2028", " . ", "...zip", "..zip", ".zip"),
    *("a" * 300 + ".tar.gz", "é" * 300, "." * 300, "\U0001f600" * 80 + ".zip", "x" * 250 + "." + "y" * 250),
)


def is_harmless(name):
    categories = {unicodedata.category(letter) for letter in name}
    return (
        0 < len(name.encode()) <= NAME_BYTES_MAX
        and name not in (".", "..")
        and not {"/", "\\"} & set(name)
        and not {"Cc", "Cf", "Cs", "Zl", "Zp"} & categories
    )


@pytest.mark.parametrize("text", EVIL)
def test_whatever_a_server_says_becomes_a_harmless_name(text):
    assert is_harmless(make_name(text))


@given(st.text(st.characters(), max_size=400))
@example("../../../workflow/yaml.zip")
def test_any_text_becomes_a_harmless_name_and_that_stays_as_it_is(text):
    name = make_name(text)
    assert is_harmless(name)
    assert make_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../../workflow/yaml.zip", "yaml.zip"),
        ("set 1 é.tar.gz", "set 1 é.tar.gz"),
        ("a\\b\\c.zip", "c.zip"),
        ("rooms/", "rooms"),
        ("..", "archive"),
        ("a" * 300 + ".tar.gz", "a" * 193 + ".tar.gz"),
    ],
)
def test_of_a_name_its_last_component_and_its_suffix_stay(text, name):
    assert make_name(text) == name


def test_names_that_a_disk_could_take_for_one_become_two():
    taken = []
    for name in ("content", "content", "Content", "CONTENT", "e\u0301.zip", "\u00e9.zip", "a" * 200, "A" * 200):
        taken.append(make_unique(make_name(name), taken))
    assert taken[:4] == ["content", "content-2", "Content-3", "CONTENT-4"]
    assert taken[4:6] == ["é.zip", "é-2.zip"]
    assert len({fold(name) for name in taken}) == len(taken)
    assert all(is_harmless(name) for name in taken)


@given(st.lists(st.sampled_from(["a", "A", "a-2", "a-3", "B.zip", "b.zip", "b-2.zip"]), max_size=12))
def test_made_unique_is_unique_and_says_the_same_each_time(names):
    def number(names):
        taken = []
        for name in names:
            taken.append(make_unique(name, taken))
        return taken

    taken = number(names)
    assert len({fold(name) for name in taken}) == len(names)
    assert taken == number(names)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("", "a name without letters"),
        ("../x", "a path outside"),
        ("a/../../x", "a path outside"),
        ("/x", "a path outside"),
        ("a\\x", "a path outside"),
        ("a\x00", "a path outside"),
        ("C:x", "a path outside"),
        ("a\nb", "a name with control characters"),
        ("a\u202eb", "a name with control characters"),
        ("\udc80", "a name that is not UTF-8"),
        ("é" * 128, "a name of 256 bytes"),
        ("a/" * 40 + "x", "a path of 41 nested folders"),
        ("/".join(["x" * 200] * 20), "a path of 4,019 bytes"),
    ],
)
def test_what_is_wrong_with_a_path_from_an_archive_or_a_listing(path, fault):
    assert find_fault(path).words.startswith(fault)


def test_only_a_path_that_climbs_out_is_not_to_be_trusted():
    """Tools pack absolute paths, and people put line ends into names, without meaning harm."""
    assert find_fault("../x").remedy is None and find_fault("a/../../x").remedy is None
    assert "unpack it" in find_fault("/home/me/bg/1.jpg").remedy and "unpack it" in find_fault("C:/bg/1.jpg").remedy
    assert find_fault("bg/a\nb.jpg").remedy == "rename it"


@pytest.mark.parametrize("path", ["a.jpg", "./a//b/c.jpg", "x" * 255, "نام‌فایل.jpg", "a b.", "con", "..a", "a..b/c.."])
def test_a_path_that_is_well_is_left_alone(path):
    assert find_fault(path) is None


def test_a_joined_path_lies_inside_or_is_rejected(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    (folder / "near").symlink_to(folder / "sub")
    assert join_inside(folder, "sub/x.jpg") == folder / "sub/x.jpg"
    assert join_inside(folder, "near/x.jpg") == folder / "near/x.jpg"
    for name in ("", ".", "..", "../in2/x", "/etc/x", "sub/../../x", "out/x", "out/in/../x"):
        with pytest.raises(UserError, match="leads outside it"):
            join_inside(folder, name)


def test_a_name_is_shown_without_what_a_terminal_would_obey():
    assert show_name("a\x1b[2J\u202eb") == "a\\x1b[2J\\u202eb"
    assert show_name("caf\udce9.jpg") == "caf\\xe9.jpg"
    assert show_name("") == "''"
    assert len(show_name("x" * 5000)) < 90
