"""Archives as the tools of people wrap and split them: one source comes out, or one line lists what could be meant."""

from __future__ import annotations

import itertools
import re

import pytest
from making_zips import BACKGROUNDS, CUTOUTS, make_png, make_zip
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.catalog.archives import Download, cut_copy, explain_foreign, is_junk, read_download
from depthmask.download.addresses import find_files
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source
from depthmask.sources import unread

ALL = BACKGROUNDS | CUTOUTS
DRIVE = "20240101T101010Z"
NOTES = {"README.md": b"of rooms", "LICENSE": b"CC0"}


@pytest.fixture(scope="module")
def server():
    with run_server() as running:
        yield running


def make_params(params, **changes):
    given = {"source": "assets", "path": "data/sources.csv", "urls": []}
    return DownloadParams(**(strip_source(params.download).model_dump() | given | changes))


def write(folder, archives):
    for name, files in archives.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(make_zip(files))
    return folder


def move(files, prefix):
    return {f"{prefix}{name}": data for name, data in files.items()}


def strip(files):
    """Loose files, as if their folder itself had not been packed."""
    return {name.partition("/")[2]: data for name, data in files.items()}


def read_raw(folder):
    names = (file for file in folder.rglob("*") if file.is_file() and file.name != "source.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in names}


ONE = {
    "nothing": ALL,
    "a top folder": move(ALL, "photos/"),
    "a top folder beside documents": move(ALL, "photos/") | NOTES,
    "a top folder with documents": move(ALL | NOTES, "photos/") | {"notes/how.txt": b"by hand"},
    "two top folders": move(ALL, "photos/photos/"),
    "many top folders": move(ALL, "home/me/data/photos/"),
    "junk of macOS": move(ALL, "photos/")
    | {"__MACOSX/photos/bg/._room0.png": b"x", ".DS_Store": b"x", "photos/bg/._room0.png": b"x"},
    "an icon of macOS": ALL | {"bg/Icon\r": b"x", "._bg": b"x"},
    "junk of Windows": ALL | {"bg/Thumbs.db": b"x", "desktop.ini": b"x", "fg/@eaDir/thing0.png": b"x"},
    "folders doubled inside": move(BACKGROUNDS, "bg/") | CUTOUTS,
    "backslashes": {name.replace("/", "\\"): data for name, data in move(ALL, "photos/").items()},
    "another whole folder around it": ALL | move({"bg/old.png": make_png(9)}, "old/"),
    "pieces of the layout elsewhere": move(ALL, "photos/") | {"docs/bg/figure.png": make_png(9)},
}


@pytest.mark.parametrize("case", ONE)
def test_a_layout_is_found_in_an_archive_whatever_wraps_it(tmp_path, params, case):
    write(tmp_path, {"photos.zip": ONE[case]})
    record = fetch(make_params(params, path=str(tmp_path / "photos.zip")), tmp_path / "raw")
    assert read_raw(tmp_path / "raw") == ALL
    assert not any("photos" in line for line in record["warnings"])


SEVERAL = {
    "loose files": {"bg.zip": strip(BACKGROUNDS), "fg.zip": strip(CUTOUTS)},
    "folders": {"bg.zip": BACKGROUNDS, "fg.zip": CUTOUTS},
    "folders under other names": {"a.zip": BACKGROUNDS, "b.zip": CUTOUTS},
    "wrapped folders": {"bg.zip": move(BACKGROUNDS, "photos/") | NOTES, "fg.zip": move(CUTOUTS, "fg/")},
    "a folder under another name": {"bg.zip": move(strip(BACKGROUNDS), "backgrounds/") | NOTES, "fg.zip": CUTOUTS},
    "each with documents": {"a.zip": BACKGROUNDS | NOTES, "b.zip": CUTOUTS | {"LICENSE": b"another"}},
    "copies of a browser": {"bg (1).zip": strip(BACKGROUNDS), "fg(2).zip": strip(CUTOUTS)},
    "the same twice": {"bg.zip": strip(BACKGROUNDS), "bg (1).zip": strip(BACKGROUNDS), "fg.zip": CUTOUTS, "all.zip": ALL},
    "folders from Drive": {f"bg-{DRIVE}-001.zip": BACKGROUNDS, f"fg-{DRIVE}-001.zip": CUTOUTS},
    "a split folder of loose files": {
        f"bg-{DRIVE}-001.zip": {"room0.png": BACKGROUNDS["bg/room0.png"], "room2.png": BACKGROUNDS["bg/room2.png"]},
        f"bg-{DRIVE}-002.zip": {"room1.png": BACKGROUNDS["bg/room1.png"]},
        "fg.zip": CUTOUTS,
    },
    "a split folder": {
        f"photos-{DRIVE}-{number + 1:03d}.zip": move(dict(list(ALL.items())[number::3]), "photos/") for number in range(3)
    },
    "a split folder, as of late": {
        f"photos-{DRIVE}-1-{number + 1:03d} (1).zip": move(dict(list(ALL.items())[number::2]), "photos/") for number in range(2)
    },
    "a folder in which it is alone": {"bg/bg.zip": strip(BACKGROUNDS), "fg/fg.zip": CUTOUTS},
    "one": {"photos.zip": move(ALL, "photos/")},
}


@pytest.mark.parametrize("case", SEVERAL)
def test_archives_in_a_folder_are_one_source_however_they_are_cut_and_named(tmp_path, params, case):
    write(tmp_path / "mine", SEVERAL[case])
    record = fetch(make_params(params, path=str(tmp_path / "mine")), tmp_path / "raw")
    assert read_raw(tmp_path / "raw") == ALL
    assert len(record["archives"]) == len(SEVERAL[case]) and not any("no file in it" in line for line in record["warnings"])


def test_what_the_user_unpacked_beside_its_archive_is_no_contradiction(tmp_path, params):
    mine = write(tmp_path / "mine", {"photos.zip": ALL})
    for name, data in ALL.items():
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_bytes(data)
    fetch(make_params(params, path=str(mine)), tmp_path / "raw")
    assert read_raw(tmp_path / "raw") == ALL
    (mine / "bg/room0.png").write_bytes(make_png(20))
    with pytest.raises(UserError, match=r"photos.zip: another archive or folder is called bg; rename one"):
        fetch(make_params(params, path=str(mine)), tmp_path / "raw")


REJECTED = {
    "two sources": (move(ALL, "train/") | move(ALL, "sets/test/"), "2 folders in it could be the source: sets/test, train; keep"),
    "halves apart": (move(BACKGROUNDS, "a/") | move(CUTOUTS, "b/"), "2 folders in it could be the source: a, b; keep"),
    "other names": (
        move({"back/1.png": make_png(8), "front/1.png": make_png(8, "RGBA")}, "photos/"),
        "contains no bg and fg, which download.source: assets needs; it contains photos/back/, photos/front/; rename",
    ),
    "loose": (strip(BACKGROUNDS), "contains no bg and fg, .* it contains room0.png, room1.png, room2.png; rename"),
    "a half": (move(BACKGROUNDS, "photos/"), "photos/fg: no such folder"),
    "damaged": (move(ALL, "photos/") | {"photos/bg/room1.png": ALL["bg/room1.png"][:40]}, "photos/bg/room1.png: "),
    "damaged, not wrapped": (ALL | {"bg/room1.png": b"x" * 40}, "bg/room1.png: not a readable image"),
    "damaged in a double folder": (CUTOUTS | {"bg/bg/room1.png": b"x" * 40}, "bg/bg/room1.png: not a readable image"),
    "no images": (CUTOUTS | {"bg/notes.dat": b"x"}, "bg: "),
}


@pytest.mark.parametrize("case", REJECTED)
@pytest.mark.parametrize("as_folder", [False, True])
def test_an_error_names_the_archive_and_the_member_and_no_folder_that_is_gone(tmp_path, params, case, as_folder):
    files, why = REJECTED[case]
    write(tmp_path / "mine", {"photos.zip": files})
    path = tmp_path / "mine" / ("" if as_folder else "photos.zip")
    with pytest.raises(UserError) as error:
        fetch(make_params(params, path=str(path)), tmp_path / "raw")
    text = str(error.value)
    assert ".part" not in text and "unpacked" not in text and "\n" not in text
    if as_folder and case in ("other names", "loose", "a half"):  # a folder of archives lacks it, not one of them
        assert text.startswith(f"{tmp_path / 'mine'}")
    else:
        assert text.startswith(f"{tmp_path / 'mine/photos.zip'}: ")
        assert re.search(why, text)
    assert {entry.name for entry in tmp_path.iterdir()} == {"mine"}


def test_the_part_that_holds_a_damaged_file_is_named(tmp_path, params):
    parts = [BACKGROUNDS, CUTOUTS | {"bg/room9.png": b"x" * 50}]
    write(tmp_path / "mine", {f"set-{DRIVE}-00{n + 1}.zip": move(part, "set/") for n, part in enumerate(parts)})
    with pytest.raises(UserError, match=rf"mine/set-{DRIVE}-002.zip: set/bg/room9.png: not a readable image"):
        fetch(make_params(params, path=str(tmp_path / "mine")), tmp_path / "raw")
    skipping = fetch(make_params(params, path=str(tmp_path / "mine"), on_bad_sample="skip"), tmp_path / "raw")
    assert [bad["key"] for bad in skipping["skipped"]] == ["room9"] and read_raw(tmp_path / "raw") == ALL


def test_the_limit_of_other_files_names_the_archive_and_no_folder_that_is_gone(tmp_path, params, monkeypatch):
    monkeypatch.setattr(unread, "VISITED_MAX", 3)
    (tmp_path / "a.zip").write_bytes(make_zip(ALL | {f"other/{number}.png": b"x" for number in range(5)}))
    lines = fetch(make_params(params, path=str(tmp_path / "a.zip")), tmp_path / "raw")["unread"]
    assert f"{tmp_path / 'a.zip'}: holds more than 3 other files; the rest was not looked at" in lines


def test_two_versions_of_a_file_are_an_error_that_names_both_archives(tmp_path, params):
    write(tmp_path / "mine", {"a.zip": ALL, "b.zip": move({"bg/room0.png": make_png(30)}, "new/")})
    why = r"mine/b.zip: contains new/bg/room0.png, of which .*mine/a.zip: bg/room0.png is another version; remove one"
    with pytest.raises(UserError, match=why):
        fetch(make_params(params, path=str(tmp_path / "mine")), tmp_path / "raw")


def test_a_missing_part_is_an_error(tmp_path, params, server):
    names = [f"set-{DRIVE}-00{number}.zip" for number in (1, 2, 3)]
    write(tmp_path / "mine", dict(zip(names, (BACKGROUNDS, CUTOUTS, NOTES), strict=True)))
    with pytest.raises(UserError, match=f"{names[0]}: is part 1 of a split download; put all parts into one folder"):
        fetch(make_params(params, path=str(tmp_path / "mine" / names[0])), tmp_path / "raw")
    (tmp_path / "mine" / names[1]).unlink()
    with pytest.raises(UserError, match=f"{names[2]}: is part 3 of a split download, but part 2 is missing"):
        fetch(make_params(params, path=str(tmp_path / "mine")), tmp_path / "raw")
    url = server.serve(f"/{names[1]}", make_zip(ALL))
    with pytest.raises(UserError, match=f"{names[1]}: is part 2 of a split download, but part 1 is missing"):
        fetch(make_params(params, urls=[url]), tmp_path / "raw", tmp_path / "cache")
    assert not (tmp_path / "raw").exists()


def test_an_archive_of_which_nothing_is_used_is_mentioned(tmp_path, params):
    write(tmp_path / "mine", {"all.zip": ALL, "bg_old.zip": {"1.png": make_png(9)}})
    record = fetch(make_params(params, path=str(tmp_path / "mine")), tmp_path / "raw")
    assert record["warnings"][0] == f"{tmp_path / 'mine/bg_old.zip'}: no file in it belongs to download.source: assets"
    assert read_raw(tmp_path / "raw") == ALL


# addresses that end alike

ALIKE = {
    "a name inside": ("/1/files/bg.zip/content", "/1/files/fg.zip/content"),
    "a query": ("/2/bg.zip?download=1", "/2/fg.zip?download=1"),
    "a name in the query": ("/3/bg/get?file=/x/bg.zip", "/3/fg/get?file=/x/fg.zip"),
    "named by the server": ("/4/a/content", "/4/b/content"),
}


@pytest.mark.parametrize("case", ALIKE)
@pytest.mark.parametrize("wrapped", [False, True])
def test_addresses_that_end_alike_give_the_same_data_in_any_order_and_from_any_cache(tmp_path, params, server, case, wrapped):
    named = {"Content-Disposition": "attachment; filename={}.zip"} if case == "named by the server" else {}
    urls = []
    for kind, path, files in zip(("bg", "fg"), ALIKE[case], (BACKGROUNDS, CUTOUTS), strict=True):
        body = make_zip(move(files, "photos/") if wrapped else strip(files))
        server.serve(path.partition("?")[0], body, headers={key: value.format(kind) for key, value in named.items()})
        urls.append(server.address(path))
    records = []
    for order, cache in itertools.product((urls, urls[::-1]), ("first", "second", "first")):
        records.append(fetch(make_params(params, urls=order), tmp_path / "raw", tmp_path / cache))
        assert read_raw(tmp_path / "raw") == ALL
    assert len({record["sha256"] for record in records}) == 1
    assert {archive["name"] for archive in records[0]["archives"]} == {"bg.zip", "fg.zip"}


def test_addresses_without_names_give_the_data_of_both_if_their_archives_have_folders(tmp_path, params, server):
    urls = [
        server.serve("/records/1/content", make_zip(move(BACKGROUNDS, "top/"))),
        server.serve("/records/2/content", make_zip(CUTOUTS)),
    ]
    for order in (urls, urls[::-1]):
        fetch(make_params(params, urls=order), tmp_path / "raw", tmp_path / "cache")
        assert read_raw(tmp_path / "raw") == ALL
    loose = [
        server.serve(f"/loose/{name}/content", make_zip(strip(files))) for name, files in (("a", BACKGROUNDS), ("b", CUTOUTS))
    ]
    with pytest.raises(UserError, match=r"download.urls: contains no bg and fg, .*it contains content/, content-2/; rename"):
        fetch(make_params(params, urls=loose), tmp_path / "raw", tmp_path / "cache")


def test_two_archives_of_one_name_at_two_addresses_are_merged(tmp_path, params, server):
    half = dict(list(strip(BACKGROUNDS).items())[:1])
    rest = {name: data for name, data in strip(BACKGROUNDS).items() if name not in half}
    urls = [server.serve(f"/{n}/bg.zip", make_zip(files)) for n, files in enumerate((half, rest))]
    urls.append(server.serve("/fg.zip", make_zip(CUTOUTS)))
    fetch(make_params(params, urls=urls), tmp_path / "raw", tmp_path / "cache")
    assert read_raw(tmp_path / "raw") == ALL


def test_an_error_in_a_fetched_archive_names_its_address(tmp_path, params, server):
    good, bad = server.serve("/good.zip", make_zip(CUTOUTS)), server.serve("/bad.zip", make_zip({"top/bg/1.png": b"x" * 40}))
    with pytest.raises(UserError, match=f"^{bad}: top/bg/1.png: not a readable image"):
        fetch(make_params(params, urls=[good, bad]), tmp_path / "raw", tmp_path / "cache")


def test_an_error_in_a_folder_that_a_list_renames_names_its_archive(tmp_path, params, server):
    url = server.serve("/rooms.zip", make_zip({"top/back/1.png": b"x" * 40, "top/front/1.png": make_png(8, "RGBA")}))
    row = f"rooms,assets,{url},,CC0-1.0,A. Author,back=bg front=fg"
    (tmp_path / "sources.csv").write_text(f"name,layout,urls,sha256,licence,citation,folders\n{row}\n")
    with pytest.raises(UserError, match=f"^{url}: top/back/1.png: not a readable image"):
        fetch(make_params(params, source="rooms", path=str(tmp_path / "sources.csv")), tmp_path / "raw", tmp_path / "cache")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/files/bg.zip/content", "bg.zip"),
        ("https://host/bg.zip?download=1", "bg.zip"),
        ("https://host/get?file=%2Fx%2Fbg.tar.gz&inline=0", "bg.tar.gz"),
        ("https://host/a.zip/b%20c.zip", "b c.zip"),
        ("https://host/archive/.zip/content", "content"),
        ("https://host/records/1/content", "content"),
        ("https://host/", "archive"),
    ],
)
def test_a_file_is_named_by_the_part_of_its_url_that_names_an_archive(url, name):
    assert [file.path for file in find_files(url)] == [name]


# names


@pytest.mark.parametrize(
    ("name", "download"),
    [
        ("bg.zip", Download("bg")),
        (f"bg-{DRIVE}-001.zip", Download("bg", DRIVE, "001")),
        (f"my photos-{DRIVE}-012 (3).zip", Download("my photos", DRIVE, "012")),
        (f"takeout-{DRIVE}-2-001.tgz", Download("takeout", f"{DRIVE}-2", "001")),
        ("bg-2024-001.zip", Download("bg-2024-001")),
        ("data (1).tar.gz", Download("data (1)")),
    ],
)
def test_the_name_of_an_archive_is_taken_apart(name, download):
    assert read_download(name) == download


def test_the_number_of_a_copy_is_cut():
    assert [cut_copy(stem) for stem in ("bg (1)", "bg(12)", "bg", "(1)", "bg (x)")] == ["bg", "bg", "bg", "(1)", "bg (x)"]


def test_junk_is_what_systems_add_and_nothing_else():
    junk = ["__MACOSX/a.jpg", "a/._b.jpg", ".DS_Store", "a/thumbs.DB", "Desktop.ini", "a/@eaDir/b.jpg", "$RECYCLE.BIN/x"]
    assert all(map(is_junk, junk))
    assert not any(map(is_junk, ["a.jpg", "a/_b.jpg", "bg/DS_Store.png", "macosx/a.jpg", "thumbs.db.jpg", "a.ini"]))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rooms.z01", r"a part of a split zip; unpack its last part \(7z x rooms.zip\)"),
        ("../x/rooms.zip.001", r"a part of a split archive; join the parts \(cat rooms.zip.\* > rooms.zip\)"),
        ("rooms.tar.gz.aa", "a part of a split archive"),
        ("rooms.tar.gz.part-b", "a part of a split archive"),
        ("rooms.part2.rar", "a part of a split rar; unpack its first part"),
        ("rooms.R03", "a part of a split rar"),
        ("rooms.zip.crdownload", "an unfinished download"),
        ("rooms.7z", r"not read; unpack it \(7z x rooms.7z\)"),
        ("rooms.tar.zst", "not read"),
    ],
)
def test_an_archive_that_is_not_read_is_recognised_by_its_name(name, why):

    assert re.search(why, explain_foreign(name))


def test_other_names_are_no_archives():
    names = ["a.jpg", "rooms.zip", "a.tar.gz", "zip.001", "notes.txt", "rooms.zip.sha256", "rooms.zip.md5", "a.z1", "z01"]
    assert [explain_foreign(name) for name in names] == [None] * len(names)
