"""What `depthmask cutouts` makes of the objects it finds: filters, edges, names, sizes, and a folder that can be resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from making_annotations import (
    Figure,
    Photo,
    draw_mask,
    make_coco,
    make_photos,
    make_star,
    paint,
    save_photos,
    write_coco,
    write_labelme,
)
from making_layouts import make_download
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.commands.cutouts import main
from depthmask.cutouts import edges
from depthmask.cutouts.naming import GROUP_PATTERN, name_pictures
from depthmask.params.plain_yaml import parse_yaml
from depthmask.sources.assets import AssetsSource
from depthmask.split.assets import group_keys

PHOTOS = make_photos(9)
PATIENCE_S = 60


def coco(folder: Path) -> list[str]:
    return ["coco", "--annotations", str(folder / "instances.json"), "--images", str(folder / "images")]


def run(out: Path, *options: object, workers: int = 1) -> dict:
    assert main([*map(str, options), "--out", str(out), "--workers", str(workers)]) == 0
    return json.loads((out / "cutouts.json").read_text())


def fail(capsys, *options: object) -> str:
    """The one line of a call that fails."""
    capsys.readouterr()
    assert main([*map(str, options)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def data(tmp_path) -> Path:
    return write_coco(tmp_path / "coco", PHOTOS)


def test_the_result_works_as_a_source_with_the_printed_params(params, data, tmp_path, capsys):
    run(tmp_path / "out", *coco(data))
    printed = capsys.readouterr().out
    lines = parse_yaml(printed.partition("write into params.yaml:\n")[2], "printed")
    download = make_download(params, lines["download"]["source"], Path(lines["download"]["path"]), {})
    source = AssetsSource(download.path and Path(download.path), download)
    assert len(list(source.check())) == len(source.backgrounds) + len(source.cutouts)
    assert source.backgrounds == ("000000", "000003", "000006") and len(source.cutouts) == 9
    assert source.cutout_kinds["000001__02"] == "dog"
    assert source.skipped == [] and not [line for line in source.warnings if "depth" not in line]
    split = params.split.model_copy(update=lines["split"])
    groups = group_keys(source.cutouts, split.cutout_group)
    assert groups["000001__01"] == ["000001__01", "000001__02"] and len(groups) == 6
    pack = json.loads((tmp_path / "out/pack.json").read_text())
    assert pack["cutouts"]["000001__02"] == {
        "kind": "dog", "picture": "000001.jpg", "licence": "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
        "object": "annotations[1] (id 101)",
    }  # fmt: skip
    assert pack["backgrounds"]["000000"] == {"picture": "000000.jpg", "licence": "CC0"}
    assert (tmp_path / "out/bg/000000.jpg").read_bytes() == (data / "images/000000.jpg").read_bytes()


def test_a_cutout_has_the_pixels_of_the_photo_and_no_old_background(data, tmp_path):
    run(tmp_path / "out", *coco(data))
    photo, figure = PHOTOS[1], PHOTOS[1].figures[0]
    mask = draw_mask(figure)
    rgba = np.array(Image.open(tmp_path / "out/fg/000001__01.png"))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert abs(rgba.shape[0] - len(rows)) <= 4 and abs(rgba.shape[1] - len(columns)) <= 4
    soft = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert 100 < soft.sum() < 0.2 * mask.sum()
    visible = rgba[rgba[..., 3] > 0][:, :3].astype(int)
    original = np.array(Image.open(data / "images" / photo.name)).astype(int)
    colour = np.median(original[mask], axis=0)
    assert np.abs(visible - colour).sum(axis=1).mean() < 20  # JPEG; the ground differs by more than 100
    assert (rgba[rgba[..., 3] == 0] == 0).all()
    assert (rgba[..., 3][[0, -1]] == 0).all() and (rgba[..., 3][:, [0, -1]] == 0).all()


@pytest.mark.parametrize(("feather", "levels"), [(0, [0, 255]), (1, [0, 255]), (4, [0, 32, 96, 159, 223, 255])])
def test_a_soft_edge_is_a_ramp_around_the_outline(feather, levels):
    inside = np.zeros((30, 30), bool)
    inside[:, 10:] = True
    alpha = edges.soften(inside, feather)
    assert np.unique(alpha).tolist() == levels
    assert ((alpha >= 128) == inside).all()  # the outline stays


def test_spread_colours_are_those_of_the_nearest_pixel_inside():
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    inside = np.zeros((20, 20), bool)
    inside[5:10, 5:15] = True
    spread = edges.spread_colours(image, inside)
    np.testing.assert_array_equal(spread[inside], image[inside])
    np.testing.assert_array_equal(spread[7, :5], np.repeat(image[7:8, 5], 5, axis=0))
    np.testing.assert_array_equal(spread[12, 8], image[9, 8])


@pytest.mark.parametrize(
    ("options", "kinds", "reasons"),
    [
        ((), {"person": 6, "dog": 3}, {"too small": 1, "cut by the frame": 1}),
        (("--allow-cut",), {"person": 7, "dog": 3}, {"too small": 1}),
        (("--kinds", "Dog"), {"dog": 3}, {"kind not wanted (person)": 7, "kind not wanted (ball)": 1}),
        (("--not-kinds", "person"), {"dog": 3}, {"kind not wanted (person)": 7, "too small": 1}),
        (("--min-side", "4", "--min-area", "16"), {"person": 6, "dog": 3, "ball": 1}, {"cut by the frame": 1}),
        (("--min-side", "100"), {"person": 6}, {"too small": 4, "cut by the frame": 1}),
        (("--one-per", "kind", "--allow-cut"), {"person": 6, "dog": 3}, {"too small": 1}),
    ],
)
def test_filters(data, tmp_path, options, kinds, reasons):
    record = run(tmp_path / "out", *coco(data), *options)
    if options == ("--min-side", "100"):
        reasons = {"too small": 5}  # the side is looked at first: the person at the frame shows 70 px
    assert (record["kinds"], record["left_out"]) == (kinds, reasons)
    # a photo in which only a person is seen is no background unless dogs alone are wanted
    assert record["backgrounds"] == (6 if "dog" in kinds and len(kinds) == 1 else 3)
    assert len(list((tmp_path / "out/fg").iterdir())) == sum(kinds.values())


def test_one_cutout_for_all_of_a_picture(data, tmp_path):
    record = run(tmp_path / "out", *coco(data), "--one-per", "picture", "--kinds", "person", "dog")
    assert record["kinds"] == {"dog+person": 2, "person": 3}
    assert record["left_out"] == {"kind not wanted (ball)": 1, "cut by the frame": 1}  # the whole group touches the frame
    (both,) = [k for p in record["pictures"] for k in p.get("kept", []) if k["name"] == "000001__01"]
    assert both["place"] == "annotations[0] (id 100) and 1 more"
    assert both["box"][2] > 250 and both["box"][0] < 50


@pytest.mark.parametrize("option", ["--kinds", "--not-kinds"])
def test_a_kind_that_is_not_there_is_named_before_anything_is_made(data, tmp_path, capsys, option):
    line = fail(capsys, *coco(data), option, "persn", "--out", tmp_path / "out")
    assert line == f"{option} persn: no such kind in the annotation; did you mean person?"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min-side", "0"), "--min-side 0: allowed: 1 to 100,000"),
        (("--feather", "nan"), "--feather nan: allowed: 0 to 100"),
        (("--field-of-view-deg", "200"), "--field-of-view-deg 200.0: allowed: 1 to 170"),
        (("--depth", "."), "--depth, --depth-format: set both"),
        (("--depth", ".", "--depth-format", "metres"), "--depth-format metres: is not like download.depth"),
        (("--depth", ".", "--depth-format", "{unit: metre}"), "--depth-format: polarity: "),
        (("--focal-px", "100", "--field-of-view-deg", "60"), "--focal-px: --field-of-view-deg is set too"),
        (("--device", "tpu"), "--device tpu: allowed: cpu"),
        (("--group", "("), "--group (: is not a regular expression"),
        (("--group", "^room"), "--group ^room: does not match 000000.jpg"),
        (("--backgrounds-from", "nowhere"), "--backgrounds-from nowhere: no such folder"),
    ],
)
def test_options_that_cannot_be_are_one_line(data, tmp_path, capsys, options, message):
    assert fail(capsys, *coco(data), *options, "--out", tmp_path / "out").startswith(message)


def test_the_same_bytes_with_any_number_of_workers(data, tmp_path):
    made = []
    for workers in (1, 3):
        run(tmp_path / str(workers) / "out", *coco(data), workers=workers)
        made.append(read_all(tmp_path / str(workers) / "out"))
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []


@pytest.mark.slow
def test_a_killed_call_is_resumed(tmp_path):
    photos = make_photos(240)
    data = write_coco(tmp_path / "coco", photos)
    run(tmp_path / "whole", *coco(data))
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "depthmask", "cutouts", *coco(data), "--out", str(out), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal, since = out / ".cutouts/journal.jsonl", time.monotonic()
    while process.poll() is None and time.monotonic() - since < PATIENCE_S:
        if journal.is_file() and journal.read_bytes().count(b"\n") > 10:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL, "was finished before it could be killed"
    before = {path: path.stat().st_mtime_ns for path in (out / "fg").glob("*.png")}
    for path in before:
        Image.open(path).load()  # nothing is half-written
    with journal.open("a") as file:
        file.write('{"base": "000001", "resu')  # as a kill may leave it
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"note: \d+ of 240 pictures were done by an earlier call", done.stderr)
    kept = sum(path.stat().st_mtime_ns == moment for path, moment in before.items())
    assert kept >= 5
    whole, resumed = read_all(tmp_path / "whole"), read_all(out)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if whole[name] != resumed[name]] == []


def test_what_changed_is_made_again_and_what_is_gone_goes(data, tmp_path, capsys):
    out = tmp_path / "out"
    run(out, *coco(data))
    changed = make_coco(PHOTOS)
    changed["annotations"] = [one for one in changed["annotations"] if one["image_id"] != 2]  # nothing in the second photo now
    (data / "instances.json").write_text(json.dumps(changed))
    (out / "fg/000002__01.png").unlink()
    Image.fromarray(paint(PHOTOS[4], seed=9)).save(data / "images/000004.jpg", quality=92)
    before = read_all(out)
    capsys.readouterr()
    run(out, *coco(data))
    # the last five have other places in the list now
    assert "note: 3 of 9 pictures were done by an earlier call" in capsys.readouterr().err
    after = read_all(out)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if name.startswith(("fg/", "bg/"))} == {
        "fg/000001__01.png", "fg/000001__02.png", "bg/000001.jpg", "fg/000002__01.png", "fg/000004__01.png",
    }  # fmt: skip
    run(tmp_path / "fresh", *coco(data))
    fresh = read_all(tmp_path / "fresh")
    assert {name for name in fresh if fresh[name] != after.get(name)} == set() and fresh.keys() == after.keys()


def test_other_options_need_another_folder_or_replace(data, tmp_path, capsys):
    out = tmp_path / "out"
    run(out, *coco(data))
    before = read_all(out)
    line = fail(capsys, *coco(data), "--min-side", "100", "--out", out)
    assert line.startswith(f"--out {out}: was made with other options (--min-side was 32, is 100); add --replace to start over")
    assert read_all(out) == before
    assert run(out, *coco(data), "--min-side", "100", "--replace")["kinds"] == {"person": 6}
    assert len(list((out / "fg").iterdir())) == 6


@pytest.mark.parametrize("place", ["notes.txt", "fg/mine.png", "bg/holiday.jpg", ".git/config"])
def test_a_folder_with_files_of_others_is_refused(data, tmp_path, capsys, place):
    out = tmp_path / "out"
    for made_before in (False, True):
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_text("mine")
        for options in ((), ("--replace",)):
            line = fail(capsys, *coco(data), *options, "--out", out)
            assert re.fullmatch(rf"--out {out}: contains \S+, which this command did not write; name another folder", line)
        assert (out / place).read_text() == "mine"
        if not made_before:
            (out / place).unlink()
            if (out / place).parent != out:
                (out / place).parent.rmdir()
            run(out, *coco(data))


def test_files_that_cannot_be_read_are_counted_and_cost_no_other(data, tmp_path, capsys):
    (data / "images/000001.jpg").write_bytes(b"no photo")
    (data / "images/000002.jpg").write_bytes((data / "images/000002.jpg").read_bytes()[:500])
    (data / "images/000003.jpg").unlink()
    Image.fromarray(paint(Photo("x", size=(100, 50)))).save(data / "images/000004.jpg")
    save_photos(data / "images", [Photo("extra.jpg")])
    record = run(tmp_path / "out", *coco(data))
    faults = {p["picture"]: p["fault"] for p in record["pictures"] if "fault" in p}
    unreadable = "picture or mask cannot be read"
    assert faults == {
        "000001.jpg": unreadable, "000002.jpg": unreadable, "000004.jpg": "other size than the annotation says",
    }  # fmt: skip
    assert record["kinds"] == {"person": 3, "dog": 2}
    printed = capsys.readouterr().out
    assert "pictures left out: 3\n  2 picture or mask cannot be read, such as 000001.jpg: " in printed
    assert f"in the annotation: 1\n  1 no such picture, such as images[3]: {data / 'images'}/000003.jpg" in printed
    assert f"  1 pictures that the annotation does not name, in {data / 'images'}, such as extra.jpg" in printed


def test_nothing_kept_is_an_error_that_leads_to_the_reasons(data, tmp_path, capsys):
    line = fail(capsys, *coco(data), "--min-side", "1000", "--out", tmp_path / "out")
    assert line == f"--out {tmp_path / 'out'}: no object was kept; the reasons are above and in {tmp_path / 'out/cutouts.html'}"
    assert (tmp_path / "out/cutouts.html").is_file()


def test_names_of_pictures_in_folders_and_of_groups(tmp_path):
    names = ["a/1.jpg", "b/1.jpg", "b_1.jpg", "B_1.png", "x__y.jpg", "é.jpg", "n" * 300 + ".jpg", "v1.2.jpg"]
    bases = name_pictures(names)
    assert bases[:6] == ["a_1", "b_1", "b_1-2", "B_1-3", "x_y", "é"] and bases[7] == "v1-2"
    assert len(bases[6].encode()) <= 120 and len({base.casefold() for base in bases}) == len(bases)
    grouped = name_pictures(["room1/a.jpg", "room2/a.jpg"], re.compile(r"^room\d+"))
    assert grouped == ["room1__room1_a", "room2__room2_a"]
    keys = [*grouped, *(f"{base}__01" for base in grouped), "plain", "plain__12"]
    groups = group_keys(keys, GROUP_PATTERN)
    assert sorted(map(len, groups.values())) == [2, 2, 2]
    with pytest.raises(UserError, match=r"does not match b\.jpg"):
        name_pictures(["room1/a.jpg", "b.jpg"], re.compile("room"))


def test_backgrounds_of_a_folder_and_pictures_of_a_share(data, tmp_path):
    save_photos(tmp_path / "rooms", [Photo("deep/room1.png"), Photo("room2.jpg"), Photo("small.jpg", size=(100, 90))])
    Image.fromarray(paint(Photo("room3"))).save(tmp_path / "rooms/room3.bmp")
    record = run(
        tmp_path / "out", *coco(data), "--backgrounds-from", tmp_path / "rooms", "--backgrounds", "none", "--licence", "mine"
    )
    names = sorted(path.name for path in (tmp_path / "out/bg").iterdir())
    assert names == ["deep_room1.png", "room2.jpg", "room3.png"]
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out/bg/room3.png")), paint(Photo("room3")))
    assert record["licences"] == {"CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)": 3, "CC0": 3, "mine": 3}
    assert [p["no_background"] for p in record["pictures"] if p["picture"] == "small.jpg"] == [
        "too small: a side of less than 128 px"
    ]
    record = run(tmp_path / "few", *coco(data), "--num-pictures", "4")
    assert [p["picture"] for p in record["pictures"]] == ["000000.jpg", "000002.jpg", "000004.jpg", "000006.jpg"]


def test_the_contact_sheet_shows_everything_and_runs_nothing(tmp_path):
    photos = [Photo("<b>x</b>.jpg", (Figure("person", make_star(150, 120, 60)),)), *make_photos(6)]
    data = write_coco(tmp_path / "coco", photos)
    run(tmp_path / "out", *coco(data))
    page = (tmp_path / "out/cutouts.html").read_text()
    assert "<b>x" not in page and "&lt;b&gt;" in page
    assert page.count("<img") == 7 + 2 + 1  # cut-outs, backgrounds, and the one that is cut by the frame
    assert "Left out: cut by the frame" in page and "at the right" in page and "CC0" in page
    assert not re.search(r"<script|<link|(src|href)=\"(?!data:)|url\(", page)


def test_a_call_that_works_elsewhere_is_not_disturbed(data, tmp_path, capsys):
    from filelock import FileLock

    out = tmp_path / "out"
    run(out, *coco(data))
    with FileLock(out / ".cutouts/lock"):
        line = fail(capsys, *coco(data), "--out", out)
    assert line == f"--out {out}: another process is writing there; wait for it or stop it"


def test_labelme_files_of_which_one_is_unlabelled(tmp_path):
    """A picture without a JSON file was perhaps never looked at: it is no background."""
    write_labelme(tmp_path / "in", PHOTOS[:4])
    (tmp_path / "in/000003.json").unlink()
    record = run(tmp_path / "out", "labelme", "--annotations", tmp_path / "in")
    assert record["backgrounds"] == 1
    assert record["not_read"] == [
        {"what": f"pictures without a JSON file, in {tmp_path / 'in'}", "number": 1, "example": "000003.jpg"}
    ]
