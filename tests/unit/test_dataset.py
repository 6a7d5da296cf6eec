"""`depthmask dataset`: what is written is read back as the same samples, and is the same however it was made."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from looking_at_samples import Seen, make_sample
from PIL import Image

from depthmask.commands.dataset import main
from depthmask.cutouts.shapes import ColumnRuns
from depthmask.data.images import decode_depth
from depthmask.dataset import plan, running, writing
from depthmask.dataset.coco import compress_runs
from depthmask.dataset.encoding import choose_scale, to_raw
from depthmask.dataset.layouts import LAYOUTS, SHARED_OFF
from depthmask.dataset.writing import OWN
from depthmask.download import space
from depthmask.download.fetch import fetch
from depthmask.loading.dataset import open_samples
from depthmask.params import DepthParams, load_params
from depthmask.sources import open_source

PROJECT = Path(__file__).parents[2]
SIZE_PX, COUNT = 32, 50  # more than the 36 pairs of the small split
BLOCK = 20  # instead of 100
PATIENCE_S = 60
PUBLISHED = [name for name, layout in LAYOUTS.items() if layout.is_published]


@pytest.fixture
def write(raw, split, tmp_path, monkeypatch):
    """Call the command on the small split; returns the folder."""
    monkeypatch.setattr(plan, "BLOCK", BLOCK)

    def call(*options: object, out: str = "out", count: int = COUNT, workers: int = 1, code: int = 0) -> Path:
        monkeypatch.setenv("DEPTHMASK_WORKERS", str(workers))
        argv = ["--out", tmp_path / out, "--count", count, "--size", SIZE_PX, *list_folders(raw, split), *options]
        assert main([*map(str, argv)]) == code
        return tmp_path / out

    return call


@pytest.fixture
def fail(write, capsys):
    """The one line of a call that fails."""

    def call(*options: object, **more) -> str:
        capsys.readouterr()
        write(*options, **more, code=1)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")

    return call


def list_folders(raw: Path, split: Path) -> list[object]:
    return ["--params", PROJECT / "params.yaml", "--raw", raw, "--split", split]


def open_part(params, raw: Path, split: Path, part: str = "train", published: bool = False):
    """The samples themselves, as training or evaluation composes them."""
    compose = params.compose.model_copy(update=dict(SHARED_OFF)) if published else params.compose
    seed = params.seed if part == "train" else params.split_seed
    options = {"image_size_px": SIZE_PX, "compose": compose, "seed": seed, "num_samples": COUNT, "with_background": True}
    samples = open_samples(raw, split, part, **options)
    if published:
        samples.composer.shuffle = False
    return samples


def read_back(folder: Path, printed: str, params, raw: Path) -> dict[str, Seen]:
    """What the download stage and the source that reads it make of the folder, by the path of the image. printed: the keys."""
    download = yaml.safe_load(printed)["download"]
    assert Path(download["path"]) == folder
    record = fetch(type(params.download)(**(params.download.model_dump() | download)), raw)
    assert (record["warnings"], record["unread"], record["skipped"]) == ([], [], [])
    source = open_source(raw)
    seen = {}
    for origin in source.composites:
        batch = source.read_composite(origin)
        sample = Seen(batch.image[0], batch.read_alpha(0), batch.depth[0], batch.valid[0], batch.background[0], origin)
        seen[source.name_files(origin.key)["image"]] = sample
    return seen


def list_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "composites.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file but those of the work itself."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != OWN)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lossless_files_are_read_back_as_the_same_samples(layout, write, params, raw, split, tmp_path, capsys):
    folder = write("--layout", layout, "--format", "png")
    read = read_back(folder, capsys.readouterr().out, params, tmp_path / "raw")
    samples, rows = open_part(params, raw, split, published=LAYOUTS[layout].is_published), list_rows(folder)
    assert len(rows) == len(read) == COUNT
    numbers = {}
    for row in rows:
        expected, found = make_sample(samples, int(row["index"])), read[row["image"]]
        for name in ("image", "mask", "background", "valid"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=f"{row['image']} {name}")
        # the demo pack has 20 m and millimetres: within half of one, and written without a change when written again
        assert np.abs(found.depth - expected.depth).max() <= 0.5 / 20_000 + 1e-7
        scale = DepthParams(unit="metre", polarity="near_is_small", max=20.0, raw_max=20_000, raw_unknown=0)
        again = decode_depth(to_raw(expected.depth, expected.valid, scale), scale)[0]
        np.testing.assert_array_equal(found.depth, again)
        assert (expected.origin.background, expected.origin.cutout) == (row["background"], row["cutout"])
        if LAYOUTS[layout].is_published:
            numbers.setdefault(found.origin.background, set()).add(row["background"])
    # the layout's number of a background stands for one of them
    assert all(len(keys) == 1 for keys in numbers.values())
    assert not LAYOUTS[layout].is_published or len(numbers) == len(samples.composer.backgrounds)


@pytest.mark.parametrize("layout", ["flat_numbered", "nested", "flat_named", "parts"])
def test_layouts_that_name_cutouts_name_the_right_ones(layout, write, params, tmp_path, capsys):
    folder = write("--layout", layout)
    read, named = read_back(folder, capsys.readouterr().out, params, tmp_path / "raw"), {}
    for row in list_rows(folder):
        named.setdefault(read[row["image"]].origin.cutout, set()).add(row["cutout"])
    assert len(named) == 6 and all(len(keys) == 1 for keys in named.values())


def test_numbers_have_no_gaps_where_the_pairs_divide_the_count(write, capsys):
    folder = write("--layout", "flat_numbered", count=72)  # 6 backgrounds, 6 cut-outs, 2 places
    assert sorted(path.stem for path in (folder / "images").iterdir()) == [f"fgbg{number:06d}" for number in range(1, 73)]
    assert "have gaps" not in capsys.readouterr().err
    write("--layout", "flat_numbered", out="other", count=80)
    assert "--count 72 or 108 has none" in capsys.readouterr().err


def test_jpeg_loses_little_and_is_what_published_layouts_are_written_as(write, params, raw, split, tmp_path, capsys):
    folder = write("--layout", "flat_numbered")
    assert {path.suffix for path in folder.rglob("*") if path.is_file() and OWN not in path.parts} == {".jpg", ".csv", ".json"}
    read, samples = (
        read_back(folder, capsys.readouterr().out, params, tmp_path / "raw"),
        open_part(params, raw, split, published=True),
    )
    differences = []
    for row in list_rows(folder):
        expected, found = make_sample(samples, int(row["index"])), read[row["image"]]
        differences.append(
            [
                np.abs(found.image.astype(int) - expected.image).mean() / 255,
                np.abs(found.mask - expected.mask).mean(),
                np.abs(found.depth - expected.depth).mean(),
            ]
        )
        assert found.valid.all()
    image, mask, depth = np.mean(differences, axis=0)
    assert 0 < image < 0.02 and 0 < mask < 0.02 and 0 < depth < 0.02


def test_test_samples_are_the_images_that_are_scored(write, params, raw, split, tmp_path, capsys):
    folder = write("--part", "test", count=5)
    read = read_back(folder, capsys.readouterr().out, params, tmp_path / "raw")
    samples = open_part(params, raw, split, part="test")
    for row in list_rows(folder):
        np.testing.assert_array_equal(read[row["image"]].image, make_sample(samples, int(row["index"])).image)


def test_an_epoch_has_composites_of_its_own(write, params, raw, split):
    first, second = write(count=3), write("--epoch", 1, out="second", count=3)
    assert [row["image"] for row in list_rows(first)] != [row["image"] for row in list_rows(second)]
    (row, *_) = list_rows(second)
    assert row["background"] == make_sample(open_part(params, raw, split), 0, epoch=1).origin.background


@pytest.mark.parametrize("layout", ["coco", "nested"])
def test_any_number_of_processes_and_shards_gives_the_same_bytes(layout, write):
    whole = read_all(write("--layout", layout, out="whole"))
    assert read_all(write("--layout", layout, out="two", workers=2)) == whole
    for shard in ("3/3", "1/3", "2/3"):
        sharded = write("--layout", layout, "--shard", shard, out="sharded")
        assert not (sharded / "dataset.json").exists()
    assert read_all(write("--layout", layout, out="sharded")) == whole


def test_shards_are_disjoint_and_complete():
    for num_blocks in (1, 2, 7, 100):
        for of in (1, 2, 3, 8):
            made = [block for shard in range(1, of + 1) for block in running.choose_blocks(num_blocks, (shard, of))]
            assert made == list(range(num_blocks))


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_with_the_same_bytes(write, raw, split, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 100)  # as in the process that is killed
    whole = write("--layout", "coco", out="whole", count=800)
    out = tmp_path / "killed"
    argv = ["--out", out, "--count", 800, "--size", SIZE_PX, "--layout", "coco", *list_folders(raw, split)]
    command = [sys.executable, "-m", "depthmask", "dataset", *map(str, argv)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "workflow"), "DEPTHMASK_WORKERS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while not (out / OWN / "000001.json").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "dataset.json").exists()
    num_there = len(list((out / OWN).glob("0*.json")))
    assert 2 <= num_there < 8
    for path in (out / "images").glob("*.png"):
        assert path.read_bytes() == (whole / "images" / path.name).read_bytes()  # whole, whenever the kill came
    write("--layout", "coco", out="killed", count=800)
    assert read_all(out) == read_all(whole)


def test_a_file_that_was_cut_short_or_lost_is_made_again(write, capsys):
    folder = write()
    before = read_all(folder)
    first, second = sorted((folder / "images").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    capsys.readouterr()
    write()
    assert read_all(folder) == before
    capsys.readouterr()
    write()
    assert "done" in (said := capsys.readouterr().err) and f"0 composites ({COUNT} were there)" in said


def test_unknown_depth_is_written_as_0(write, small_demo, split, params, tmp_path, capsys):
    folder = tmp_path / "holes"
    shutil.copytree(small_demo, folder)
    for path in (folder / "bg_depth").iterdir():
        depth = np.array(Image.open(path))
        depth[:40, :40] = 0
        Image.fromarray(depth).save(path)
    depth = params.download.depth.model_copy(update={"raw_unknown": 0})
    holes = tmp_path / "holes_raw"
    fetch(params.download.model_copy(update={"path": str(folder), "depth": depth}), holes)
    made = write("--raw", holes, count=4)
    read = read_back(made, capsys.readouterr().out, params, tmp_path / "again")
    samples = open_part(params, holes, split)
    assert any((~make_sample(samples, index).valid).any() for index in range(4))
    for row in list_rows(made):
        np.testing.assert_array_equal(read[row["image"]].valid, make_sample(samples, int(row["index"])).valid)
    write("--raw", holes, "--layout", "nested", out="jpeg", count=4)
    assert yaml.safe_load(capsys.readouterr().out)["download"]["depth"]["raw_unknown"] == 0


@pytest.mark.parametrize("polarity", ["near_is_small", "near_is_large"])
@pytest.mark.parametrize(
    ("unit", "most", "raw_max"), [("metre", 20.0, 20_000), ("metre", 100.0, 65535), ("relative", 1.0, 65535)]
)
def test_depth_is_written_to_half_a_step_in_its_own_unit_and_polarity(polarity, unit, most, raw_max):
    source = DepthParams(unit=unit, polarity=polarity, max=most, raw_max=255, raw_unknown=None)
    scale = choose_scale(source, "png")
    assert (scale.raw_max, scale.raw_unknown, scale.unit, scale.polarity, scale.max) == (raw_max, 0, unit, polarity, most)
    depth = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    valid = np.random.default_rng(1).random((40, 50)) > 0.1
    raw = to_raw(depth, valid, scale)
    read, known = decode_depth(raw, scale)
    assert raw.dtype == np.uint16
    np.testing.assert_array_equal(known, valid)
    # a known depth of 0 raw units is written as 1, since 0 means unknown
    assert np.abs(read - depth)[valid & (raw > 1)].max() <= 0.5 / raw_max + 2e-7


def test_8_bits_cannot_say_unknown_where_the_source_never_is():
    source = DepthParams(unit="metre", polarity="near_is_small", max=20.0, raw_max=20_000, raw_unknown=None)
    assert choose_scale(source, "jpg").raw_unknown is None
    assert choose_scale(source.model_copy(update={"raw_max": None}), "jpg").raw_unknown == 0  # NaN


def test_run_lengths_are_read_back_as_the_mask_by_the_reader_of_coco():
    random = np.random.default_rng(0)
    masks = [random.random((height, width)) < share for height, width, share in ((7, 5, 0.5), (1, 9, 0.3), (60, 40, 0.02))]
    large = np.zeros((400, 300), bool)
    large[30:390, 20:280] = True
    for inside in [*masks, large, np.zeros((4, 6), bool), np.ones((4, 6), bool)]:
        np.testing.assert_array_equal(ColumnRuns(*inside.shape, compress_runs(inside)).draw(*inside.shape), inside)
    # worked out by hand: down the columns 3 outside, 1 inside, 1 outside, 1 inside, which is 0 more than the one two before
    assert compress_runs(np.array([[0, 0, 0], [0, 1, 1]], bool)) == "3110"


def test_annotations_describe_the_masks(write, params, raw, split):
    folder = write("--layout", "coco")
    whole = json.loads((folder / "annotations/instances_train.json").read_text())
    assert whole["info"]["depth"] == {"unit": "metre", "polarity": "near_is_small", "scale": 0.001, "max": 20.0, "unknown": 0}
    assert [image["id"] for image in whole["images"]] == list(range(1, COUNT + 1))
    images = {image["id"]: image for image in whole["images"]}
    samples, rows = open_part(params, raw, split), list_rows(folder)
    assert len(whole["annotations"]) > COUNT // 2
    for annotation in whole["annotations"]:
        image = images[annotation["image_id"]]
        assert f"images/{image['file_name']}" == rows[annotation["image_id"] - 1]["image"]
        for kind, name in (("masks", "mask"), ("depth", "depth"), ("background", "background")):
            assert (folder / kind / image[f"{name}_file_name"]).is_file()
        inside = make_sample(samples, annotation["image_id"] - 1).mask >= 128 / 255
        size = annotation["segmentation"]["size"]
        np.testing.assert_array_equal(ColumnRuns(*size, annotation["segmentation"]["counts"]).draw(*size), inside)
        left, top, width, height = annotation["bbox"]
        within = np.zeros_like(inside)
        within[top : top + height, left : left + width] = True
        assert annotation["area"] == inside.sum() and not (inside & ~within).any()
        assert (
            inside[top].any() and inside[:, left].any() and inside[top + height - 1].any() and inside[:, left + width - 1].any()
        )


def test_a_clean_background_of_its_own_is_written_where_params_ask_for_one(write, params, raw, split, tmp_path, capsys):
    changed = tmp_path / "params.yaml"
    text = (PROJECT / "params.yaml").read_text().replace("clutter: 0 ", "clutter: 2 ").replace("view_min:  ", "view_min: 0.6  ")
    changed.write_text(text)
    changed_params = load_params(changed)
    assert (changed_params.compose.clutter, changed_params.compose.view_min) == (2, 0.6)
    folder = write("--params", changed, count=12)
    read = read_back(folder, capsys.readouterr().out, params, tmp_path / "raw")
    samples = open_part(changed_params, raw, split)
    for row in list_rows(folder):
        np.testing.assert_array_equal(read[row["image"]].background, make_sample(samples, int(row["index"])).background)
    write("--params", changed, "--layout", "nested", out="nested", count=12)
    said = capsys.readouterr().err
    assert "compose: flip_background 0.5, view_min 0.6, clutter 2 not applied, because nested has one clean background" in said


def test_without_backgrounds_there_are_none(write, capsys):
    coco = write("--layout", "coco", "--no-backgrounds", out="coco", count=4)
    assert "background_file_name" not in (coco / "annotations/instances_train.json").read_text()
    capsys.readouterr()
    numbered = write("--layout", "flat_numbered", "--no-backgrounds", out="numbered", count=4)
    assert yaml.safe_load(capsys.readouterr().out)["download"]["backgrounds"] is None
    for folder in (coco, numbered):
        assert not list(folder.rglob("background*")) and list(folder.rglob("images/*"))


def test_what_cannot_work_is_one_line(write, fail, tmp_path, monkeypatch):
    assert fail(count=0) == "--count 0: allowed: 1 to 10,000,000"
    assert fail("--shard", "0/4") == "--shard 0/4: allowed: K/N with K from 1 to N, and N up to 10,000, such as 1/8"
    assert fail("--source", "rooms") == "--source rooms: no such source; allowed: demo"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("keep")
    assert fail(out="mine").endswith("mine: contains letter.txt, which this command did not write; name another folder")
    write(count=4)
    said = fail(count=5)
    assert said.endswith("out: was made with other settings (count was 4, is 5); remove it, or name another folder")
    assert "no such file" in fail("--split", tmp_path / "nowhere", out="new")
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: disk._replace(free=1000))
    assert "GB needed, 0.0 GB free; free some space" in fail(out="full")
    assert not (tmp_path / "full/images").exists()


def test_another_declared_depth_of_the_same_data_is_another_setting(write, fail, raw, tmp_path):
    write(count=4)
    shutil.copytree(raw, tmp_path / "other")
    record = json.loads((tmp_path / "other/source.json").read_text())
    record["download"]["depth"] |= {"max": 10.0, "raw_max": 10000}
    (tmp_path / "other/source.json").write_text(json.dumps(record))
    assert "was made with other settings (depth differs)" in fail("--raw", tmp_path / "other", count=4)


def test_a_disk_without_room_for_so_many_files_is_refused_before_the_first(fail, tmp_path, monkeypatch):
    status = os.statvfs(tmp_path)

    class Few:
        f_files, f_favail = 1000, 10

        def __getattr__(self, name):
            return getattr(status, name)

    monkeypatch.setattr(running.os, "statvfs", lambda _: Few())
    assert "200 files needed, and the disk has room for 10 (inodes)" in fail()


def test_a_disk_that_fills_up_is_one_line_and_leaves_no_part_of_a_file(fail, write, tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def fill_up(source, target):
        calls.append(target)
        if len(calls) == 5:
            raise OSError(28, "No space left on device", str(source))
        replace(source, target)

    monkeypatch.setattr(writing.os, "replace", fill_up)
    assert fail().endswith(".png: the disk is full; free some space and rerun the same command")
    monkeypatch.setattr(writing.os, "replace", replace)
    assert not list(tmp_path.rglob(".*.part"))
    write()
    assert read_all(tmp_path / "out") == read_all(write(out="fresh"))


def test_ready_samples_are_not_written_again(write, fail, params, tmp_path, capsys):
    folder = write("--layout", "nested", count=4)
    download = yaml.safe_load(capsys.readouterr().out)["download"]
    fetch(type(params.download)(**(params.download.model_dump() | download)), tmp_path / "ready")
    assert "nested holds ready samples" in fail("--raw", tmp_path / "ready", out="again")
    assert folder.is_dir()


@pytest.mark.slow
def test_shards_under_snakemake_give_the_same_bytes_and_are_then_done(write, raw, split, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 100)  # as in the jobs
    place = tmp_path / "place"
    (place / "data").mkdir(parents=True)
    shutil.copyfile(PROJECT / "params.yaml", place / "params.yaml")
    shutil.copytree(raw, place / "data/raw")
    shutil.copytree(split, place / "data/split")
    shutil.copytree(PROJECT / "profiles/default", place / "profiles/default")  # by which mtimes alone make a job run
    options = ["out=made", "count=150", f"size={SIZE_PX}", "layout=coco", "shards=2"]
    command = [sys.executable, "-m", "snakemake", "-s", PROJECT / "workflow/dataset.smk", "--cores", "1", "--config", *options]
    done = subprocess.run([*map(str, command)], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 steps" in done.stderr  # two shards, the whole, and all
    assert read_all(place / "made") == read_all(write("--layout", "coco", count=150))
    again = subprocess.run([*map(str, command), "-n"], cwd=place, capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr
    other = subprocess.run([*map(str, command), "count=151"], cwd=place, capture_output=True, text=True)
    assert other.returncode != 0 and "was made with other settings (count was 150, is 151)" in other.stdout + other.stderr
    assert read_all(place / "made") == read_all(tmp_path / "out")
    wrong = subprocess.run([*map(str, command[:-1]), "shard=2"], cwd=place, capture_output=True, text=True)
    assert wrong.returncode != 0 and "error: --config: shard is not known; allowed: out, count" in wrong.stderr


def test_of_several_sources_the_named_one_is_written(write, fail, raw, split, tmp_path):
    mixed, more = tmp_path / "mixed", tmp_path / "more"
    for name in ("demo", "rooms"):
        shutil.copytree(split, mixed / name)
    (mixed / "sources.json").write_text(json.dumps({"weights": {"demo": 1.0, "rooms": 0.5}}))
    shutil.copytree(raw, more / "rooms")
    places = ("--split", mixed, "--more", more)
    assert fail(*places) == "--source: the split is of several sources; name one: demo, rooms"
    alone = write(count=4, out="alone")
    # the first source's folder is not there: what is read is that of the named one
    named = write(*places, "--raw", tmp_path / "nowhere", "--source", "rooms", count=4, out="named")
    assert list_rows(named) == list_rows(alone)
    assert {name: data for name, data in read_all(named).items() if name.endswith(".png")} == {
        name: data for name, data in read_all(alone).items() if name.endswith(".png")
    }
    assert json.loads((named / "dataset.json").read_text())["source"] == "rooms"
