"""Tables and settings as editors and spreadsheets save them: read, or rejected in one line that names the file and the place."""

from __future__ import annotations

import codecs
import json
import shutil

import pytest

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.file_errors import name_errors
from depthmask.base.files import read_csv, read_json
from depthmask.catalog.named_sets import COLUMNS, read_registry
from depthmask.params import DownloadParams, load_params
from depthmask.sources import RECORD
from depthmask.sources.assets import AssetsSource
from depthmask.sources.pack_json import find_unknown_names, read_pack

ROW = ("rooms", "assets", "https://example.org/rooms.zip", "", "CC BY 4.0", "Çağrı, 2024", "")
LAYOUTS = ("assets",)


def make_table(separator: str = ",", end: str = "\n") -> str:
    quoted = [f'"{text}"' if separator in text else text for text in ROW]
    return separator.join(COLUMNS) + end + separator.join(quoted) + end


@pytest.mark.parametrize(
    "data",
    [
        make_table().encode(),
        codecs.BOM_UTF8 + make_table().encode(),
        codecs.BOM_UTF8 + make_table(";", "\r\n").encode(),
        make_table("\t").encode(),
        b"sep=;\r\n" + make_table(";", "\r\n").encode(),
        make_table(";").encode() + b";;;;;;\n;;;;;;\n",
        make_table().encode() + b"\n   \n",
        make_table().title().encode().splitlines(True)[0] + make_table().encode().splitlines(True)[1],
        b"".join(line.rstrip(b"\n") + b",,\n" for line in make_table().encode().splitlines(True)),
    ],
    ids=["plain", "byte order mark", "semicolons", "tabs", "declared separator", "empty rows", "spaces", "case", "no names"],
)
def test_the_list_of_sets_is_read_as_a_spreadsheet_saves_it(tmp_path, data):
    path = tmp_path / "sources.csv"
    path.write_bytes(data)
    (found,) = read_registry(path, LAYOUTS).values()
    assert (found.name, found.urls, found.licence, found.citation) == (ROW[0], (ROW[2],), ROW[4], ROW[5])


@pytest.mark.parametrize(
    ("data", "printed"),
    [
        (make_table().encode("cp1252", "replace"), r"line 2: '[^\n]*Ç' is not UTF-8 \(byte \d+\); save the file as UTF-8"),
        (codecs.BOM_UTF16_LE + make_table().encode("utf-16-le"), "line 1: is UTF-16 text; save the file as UTF-8"),
        (make_table().encode("utf-16-be"), "line 1: is UTF-16 text; save the file as UTF-8"),
        (b"PK\3\4" + bytes(60), r"is a workbook or another packed file, not text; export it as text \(of a .*: CSV UTF-8\)"),
        (b"", "line 1: the columns are not name, layout, .*"),
        (b"sep=;\nname,layout\n", "line 2: the columns are not name, layout, .*"),
        (b"".join(line.rstrip(b"\n") + b",note\n" for line in make_table().encode().splitlines(True)), "line 1: the .*"),
        (make_table().encode() + b"\n\n" + b'"a\nb",\n', "line 6: fewer fields .*"),
        (make_table().encode() + b"a,b\n", "line 3: fewer fields than the 7 columns; put text with a separator into quotes"),
        (make_table().encode() + b",".join([b"a"] * 9), "line 3: more fields than the 7 columns; put text .*"),
        (b"name,layout\nrooms,assets\n", "line 1: the columns are not name, layout, urls, .*; correct the line"),
        (make_table().encode() + b'"' + b"x" * 200_000 + b'",,,,,,', "is not CSV .*; correct it"),
    ],
    ids=[
        *("latin-1", "UTF-16", "UTF-16 without a mark", "a workbook", "nothing", "columns behind a separator", "one column more"),
        *("far down", "few fields", "many fields", "columns", "a huge field"),
    ],
)
def test_a_list_of_sets_that_cannot_be_read_is_one_line_with_the_place(tmp_path, data, printed):
    path = tmp_path / "sources.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"^{path}: ({printed})$"):
        read_registry(path, LAYOUTS)


def test_a_place_far_into_a_table_is_that_of_the_whole_file(tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 50_000 + b"k\xfcche,2\n")
    with pytest.raises(UserError, match=r"long\.csv: line 50002: 'kü' is not UTF-8 \(byte 200005\)"):
        read_csv(path)


@pytest.mark.parametrize("name", ["none.csv", "folder", "loop"])
def test_a_table_that_is_no_file_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=f"^{tmp_path / name}: (no such file|is a folder|is a link to itself)$"):
        read_csv(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "printed"),
    [
        (
            "seed: 0\nreport: {title: Küche}\n".encode("latin-1"),
            r"line 2: 'report: \{title: Kü' is not UTF-8 \(byte 25\); .*",
        ),
        ("seed: 0\n".encode("utf-16"), "line 1: is UTF-16 text; save the file as UTF-8"),
        (codecs.BOM_UTF16_BE + "seed: 0\n".encode("utf-16-be"), "line 1: is UTF-16 text; save the file as UTF-8"),
        ("seed: 0\n".encode("utf-16-le"), "line 1: is UTF-16 text; save the file as UTF-8"),
        (b"seed: 0\n<<<<<<< HEAD\n", "line 2: a merge conflict starts here; keep one version and remove the conflict markers"),
        (codecs.BOM_UTF8 + b"seed: 0\n", "line 1: contains a byte order mark, which is not allowed here; .*"),
    ],
    ids=["latin-1", "UTF-16 LE", "UTF-16 BE", "UTF-16 without a mark", "a conflict", "UTF-8 with a mark"],
)
def test_params_in_another_encoding_are_one_line_with_the_place(tmp_path, data, printed):
    path = tmp_path / "params.yaml"
    path.write_bytes(data)
    with pytest.raises(ParamsError, match=f"^{path}: {printed}$"):
        load_params(path)


@pytest.mark.parametrize(
    ("pack", "printed"),
    [
        ([], "list where a mapping is expected, such as .*"),
        ("person", "str where a mapping is expected, such as .*"),
        ({"cutouts": []}, "cutouts: list where a mapping is expected, such as .*"),
        ({"cutouts": {"thing": "person"}}, 'cutouts.thing: str where a mapping is expected, such as {"kind": "person"}; .*'),
        ({"cutouts": {"thing": {"pixels_per_m": "100"}}}, "cutouts.thing.pixels_per_m: Input should be .*, not '100'; .*"),
        ({"backgrounds": {"room": {"focal_px": None, "kind": 7}}}, "backgrounds.room.kind: Input should be .*, not '7'; .*"),
    ],
)
def test_a_pack_of_another_shape_is_one_line_with_the_key(tmp_path, pack, printed):
    path = tmp_path / "pack.json"
    path.write_text(json.dumps(pack))
    with pytest.raises(UserError, match=f"^{path}: {printed}$"):
        read_pack(path)


def test_a_pack_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "pack.json").write_bytes(codecs.BOM_UTF8 + b'{"cutouts": {"thing": {"kind": "a"}}}')
    assert read_pack(tmp_path / "pack.json").cutouts["thing"].kind == "a"
    (tmp_path / "pack.json").write_bytes('{"cutouts": {}}'.encode("utf-16"))
    with pytest.raises(UserError, match=r"pack\.json: is not JSON \(UTF-16 text; save the file as UTF-8\)"):
        read_json(tmp_path / "pack.json")


def test_names_in_a_pack_that_no_file_has_are_told(raw, tmp_path):
    folder = tmp_path / "assets"
    shutil.copytree(raw, folder)
    download = DownloadParams.model_validate(read_json(folder / RECORD)["download"] | {"source": "assets"})
    first = AssetsSource(folder, download).cutouts[0]
    (folder / "pack.json").write_text(json.dumps({"cutouts": {first: {"kind": "a"}, "nobody": {"kind": "a"}}}))
    assert AssetsSource(folder, download).warnings[-1] == "pack.json: cutouts: no file for 1 of 2 names: nobody"
    (folder / "pack.json").write_text(json.dumps({"cutouts": {f"{first}.png": {"kind": "a"}}}))
    with pytest.raises(UserError, match=rf"pack\.json: cutouts\.{first}\.png: has a suffix; write the name without it: {first}"):
        AssetsSource(folder, download)


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        ({"Cutouts": {"a": {}}}, "pack.json: Cutouts: not read; allowed: backgrounds, cutouts; did you mean cutouts?"),
        ({"a": {"kind": "person"}}, "pack.json: a: not read; allowed: backgrounds, cutouts"),
        (
            {"cutouts": {"a": {"height": 1.8}, "b": {"kind": "dog"}}},
            "pack.json: cutouts: height is not read, in 1 of 2 names; did you mean height_m?",
        ),
        (
            {"backgrounds": {"a": {"focal": 100.0}}},
            "pack.json: backgrounds: focal is not read, in 1 of 1 names; did you mean focal_px?",
        ),
        ({"about": "my rooms", "cutouts": {"a": {"picture": "a.jpg", "licence": "CC0", "depth_m": 2.0, "object": 3}}}, None),
    ],
)
def test_a_misspelt_key_of_a_pack_is_told_and_a_note_is_not(tmp_path, pack, told):
    (tmp_path / "pack.json").write_text(json.dumps(pack))
    found = find_unknown_names(tmp_path / "pack.json", read_pack(tmp_path / "pack.json"), ["a", "b"], ["a", "b"])
    assert found == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (OSError(36, "File name too long", "x.jpg"), "x.jpg: the name is too long; correct the path, or remove it"),
        (OSError(40, "Too many levels", "x.jpg"), "x.jpg: is a link to itself; .*"),
        (OSError(22, "Invalid argument"), r"x.jpg: damaged file \(\[Errno 22\] Invalid argument\); .*"),
        (OSError("broken data stream"), r"x.jpg: damaged file \(broken data stream\); replace or remove it"),
        (KeyError(3), r"x.jpg: damaged file \(3\); .*"),
        (SyntaxError(), r"x.jpg: damaged file \(SyntaxError\); .*"),
        (EOFError("a\nb"), r"x.jpg: damaged file \(a b\); .*"),
        (UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "bad"), r"x.jpg: line 1: 'abÿ' is not UTF-8 \(byte 2\); .*"),
        (UserError("y.jpg: no good"), "y.jpg: no good"),
    ],
)
def test_whatever_a_reader_raises_becomes_a_line_that_names_the_file(error, printed):
    with pytest.raises(UserError, match=f"^{printed}$"), name_errors("x.jpg"):
        raise error
    with pytest.raises(UserError, match=f"^(download.path: )?{printed}$"), name_errors("x.jpg", key="download.path"):
        raise error


@pytest.mark.parametrize("number", [13, 5, 24])
def test_a_fault_of_the_machine_is_none_of_the_file_and_names_it(number):
    with pytest.raises(OSError) as caught, name_errors("x.jpg"):
        raise OSError(number, "reason")
    assert (caught.value.errno, caught.value.filename) == (number, "x.jpg")
