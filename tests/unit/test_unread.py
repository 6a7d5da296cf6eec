"""Nothing in a user's folder is dropped without a word: what is not read is counted and named with one example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making_layouts import WRITERS, make_composites, make_download
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.data import formats
from depthmask.download.fetch import fetch
from depthmask.serving.selection import select_photos
from depthmask.sources import unread as unread_module
from depthmask.sources.unread import find_similar
from stages import download as download_stage


@pytest.fixture
def assets(tmp_path) -> Path:
    folder = tmp_path / "set"
    (folder / "bg").mkdir(parents=True)
    (folder / "fg").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / f"bg/room{number}.jpg")
        rgba = np.full((20, 20, 4), 200, np.uint8)
        rgba[:4, :, 3] = 0
        Image.fromarray(rgba).save(folder / f"fg/thing{number}.png")
    return folder


def _fetch(params, folder: Path, **changes) -> list[str]:
    return fetch(make_download(params, "assets", folder, changes), folder.parent / "raw")["unread"]


def _fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_that_is_read_whole_has_nothing_to_say(assets, params):
    _fill(
        assets, "bg/.DS_Store", "bg/._room0.jpg", "fg/Thumbs.db", "__MACOSX/bg/room0.jpg", "README.md", "LICENSE", ".cache/a.jpg"
    )
    assert _fetch(params, assets) == []


@pytest.mark.parametrize(
    "names, line",
    [
        (["bg/a.dng", "bg/b.DNG"], "2 .dng files in bg are not read, such as bg/a.dng; convert them to JPEG or PNG"),
        (["fg/a.jpg"], "1 .jpg file in fg is not read, such as fg/a.jpg; this format has no alpha"),
        (["bg/notes.txt"], "1 .txt file in bg is not read, such as bg/notes.txt"),
        (["bg/noname"], "1 other file in bg is not read, such as bg/noname; give them the suffix of their format, such as .jpg"),
        (["bg/a.png "], "1 .png  file in bg is not read, such as bg/a.png ; the name ends in a space or a dot: rename it"),
        (
            ["bg/kitchen/a.jpg", "bg/kitchen/b.jpg", "bg/den/old/c.png"],
            "3 files in folders below bg are not read, such as bg/den/old/c.png; move them up into bg",
        ),
        (
            ["background/a.jpg", "background/b.jpg"],
            "2 files in background are not read, such as background/a.jpg",
        ),
        (
            ["BG-Depths/a.png"],
            "1 file in BG-Depths is not read, such as BG-Depths/a.png; rename the folder to bg_depth if that is what it is",
        ),
        (["a.jpg", "b.jpg"], "2 files beside the folders are not read, such as a.jpg; only folders such as bg, fg are"),
        (["holiday/2024/a.heic"], "1 file in holiday is not read, such as holiday/2024/a.heic"),
    ],
)
def test_each_kind_is_counted_and_named_with_one_example(assets, params, names, line):
    _fill(assets, *names)
    assert _fetch(params, assets) == [line]


def test_a_missing_folder_is_named_with_what_is_in_its_place(assets, params):
    (assets / "bg").rename(assets / "kitchen")
    with pytest.raises(UserError, match=r"bg: no such folder; the folders there are fg, kitchen$"):
        _fetch(params, assets)
    (assets / "set").mkdir()
    (assets / "kitchen").rename(assets / "set/bg")
    with pytest.raises(
        UserError, match=r"but there is set/bg; set download.path to the folder set in it, or move its contents up$"
    ):
        _fetch(params, assets)


def test_a_folder_that_is_read_by_a_link_is_read(assets, params):
    (assets / "bg").rename(assets / "photos")
    (assets / "bg").symlink_to(assets / "photos")
    assert _fetch(params, assets) == []


def test_notes_beside_the_folders_are_of_no_interest(assets, params):
    _fill(assets, "notes.txt", "docs/manual.txt", "captions.json")
    assert _fetch(params, assets) == []


def test_photos_that_need_a_package_say_so(assets, params, monkeypatch):
    monkeypatch.setattr(unread_module, "LACKING", {".heic": formats.GET_HEIF})
    monkeypatch.setattr("depthmask.sources.assets.FOLDERS", {"bg": (".jpg",), "fg": (".png",), "bg_depth": (), "fg_depth": ()})
    monkeypatch.setattr("depthmask.sources.layout.list_pictures.__defaults__", ((".jpg",), None))
    _fill(assets, "bg/IMG_1.HEIC", "bg/IMG_2.HEIC")
    line = "2 .heic files in bg are not read, such as bg/IMG_1.HEIC; pip install -e '.[heif]' to read them"
    assert _fetch(params, assets) == [line]


def test_the_stage_prints_and_records_it(assets, params, tmp_path, capsys, monkeypatch):
    _fill(assets, "bg/a.dng")
    download = make_download(params, "assets", assets, {})
    out, run = tmp_path / "raw", tmp_path / "run.json"
    load = lambda _: type("Loaded", (), {"download": download})  # noqa: E731
    assert download_stage.main(["--params", "x", "--out", str(out), "--run", str(run)], load) == 0
    line = "1 .dng file in bg is not read, such as bg/a.dng; convert them to JPEG or PNG"
    assert f"note: {line}" in capsys.readouterr().err
    assert read_json(run)["extra"]["unread"] == read_json(out / "source.json")["unread"] == [line]


def test_many_kinds_are_cut_off(assets, params):
    _fill(assets, *(f"bg/a.x{number}" for number in range(20)))
    lines = _fetch(params, assets)
    assert len(lines) == unread_module.LINES_MAX + 1
    assert lines[-1] == f"and {20 - unread_module.LINES_MAX} more kinds of files are not read"


@pytest.mark.parametrize("layout", WRITERS)
def test_whole_layouts_have_nothing_unread_and_misspelt_folders_are_named(tmp_path, params, layout):
    changes, _ = WRITERS[layout](tmp_path / "set", make_composites(4, 4, 1))
    download = make_download(params, layout, tmp_path / "set", changes)
    assert fetch(download, tmp_path / "raw")["unread"] == []
    _fill(tmp_path / "set", "elsewhere/a.png", "elsewhere/b.png")
    assert fetch(download, tmp_path / "raw")["unread"] == ["2 files in elsewhere are not read, such as elsewhere/a.png"]


def test_formats_without_a_reader_are_named_where_a_layout_may_have_them(tmp_path, params):
    changes, _ = WRITERS["flat_numbered"](tmp_path / "set", make_composites(4, 4, 1))
    for path in (tmp_path / "set/depth").iterdir():
        path.rename(path.with_suffix(".mat"))
    download = make_download(params, "flat_numbered", tmp_path / "set", changes)
    (line,) = fetch(download, tmp_path / "raw")["unread"]
    assert line == "16 files in depth are not read, such as depth/fgbg000001.mat"


EMPTY = {
    "nothing": ([], "bg: empty folder: contains no file that is read"),
    "litter": (["bg/.DS_Store"], "bg: empty folder"),
    "one kind": (["bg/a.xyz", "bg/b.xyz"], "bg: holds 2 .xyz files, which are not read$"),
    "raw photos": (["bg/a.dng"], r"bg: holds 1 .dng file, which is not read \(convert them to JPEG or PNG\)$"),
    "numbers": (["bg/a.h5"], r"bg: holds 1 .h5 file, which is not read \(save depth or masks in them as .npy"),
    "a table": (["bg/a.csv"], r"bg: holds 1 .csv file, which is not read \(save depth or masks in them as .npy"),
    "a video": (["bg/a.mp4"], r"bg: holds 1 .mp4 file, which is not read \(save frames of them as images\)$"),
    "an archive": (["bg/a.zip"], r"bg: holds 1 .zip file, which is not read \(unpack them\)$"),
    "no suffix": (["bg/a", "bg/b"], r"bg: holds 2 files without a suffix, which are not read \(give them the suffix"),
    "hidden": (["bg/.a.jpg", "bg/.DS_Store", "bg/._b.jpg"], r"bg: holds only hidden files, such as .a.jpg; rename them$"),
    "deep folders": (["bg/2024/may/a.jpg"], "bg: holds 1 file in folders of their own, such as bg/2024/may; move them up"),
    "folders": (
        ["bg/kitchen/a.jpg", "bg/hall/b.jpg"],
        "bg: holds 2 files in folders of their own, such as bg/hall; move them up",
    ),
}


@pytest.mark.parametrize("names, printed", EMPTY.values(), ids=EMPTY)
def test_an_empty_folder_that_is_not_says_what_it_holds(assets, params, names, printed):
    for path in (assets / "bg").iterdir():
        path.unlink()
    _fill(assets, *names)
    with pytest.raises(UserError, match=printed):
        _fetch(params, assets)


@pytest.mark.parametrize("name", ["background", "BG", "bg_", "Backgrounds", "back-ground"])
def test_a_missing_folder_is_looked_for_under_other_names(assets, params, name):
    (assets / "bg").rename(assets / "moved")
    (assets / "moved").rename(assets / name)
    with pytest.raises(UserError, match=rf"bg: no such folder, but there is {name}; rename it to bg if that is what it is"):
        _fetch(params, assets)


@pytest.mark.parametrize(
    "name, wanted",
    [("Fg", "fg"), ("foreground", "fg"), ("masks_", "masks"), ("Mask", "masks"), ("imgs", "images"), ("imagse", "images")],
)
def test_near_names_are_found(name, wanted):
    assert find_similar(name, ["bg", "fg", "bg_depth", "images", "masks"]) == wanted
    assert find_similar("holiday", ["bg", "fg", "bg_depth", "images", "masks"]) is None


def test_predict_counts_photos_that_it_does_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path, "photos/a.dng", "photos/b.jpg", "photos/sub/c.psd", "photos/notes.txt")
    unread: list[str] = []
    assert [photo.path.name for photo in select_photos(["photos"], [], Path("out"), None, unread)] == ["b.jpg"]
    assert formats.describe_unread_photos(unread) == (
        "2 photos are in a format that is not read, such as photos/a.dng; convert them to JPEG or PNG"
    )
    monkeypatch.setattr(formats, "LACKING", {".heic": formats.GET_HEIF})
    assert formats.describe_unread_photos(["a.dng", "b.HEIC"]).endswith("such as b.HEIC; to read .HEIC: " + formats.GET_HEIF)
    (tmp_path / "photos/b.jpg").unlink()
    with pytest.raises(UserError, match="photos: no photos found; 2 photos are in a format that is not read"):
        select_photos(["photos"], [], Path("out"))
