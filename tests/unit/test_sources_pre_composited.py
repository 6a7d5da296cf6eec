"""Every layout of pre-composited samples is read back sample for sample, and split without a leak."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from looking_at_samples import look_at, make_sample
from making_layouts import WRITERS, make_composites, make_download, pack_small, save, write_parts
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv
from depthmask.download.fetch import fetch
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import PARTS
from depthmask.sources import find_source_class, open_source, read_record
from depthmask.sources.packed import PackedSource
from depthmask.split.packed import split_packed, write_packed

NUM_BACKGROUNDS, NUM_CUTOUTS, NUM_PLACES = 4, 3, 2
JPEG_LEVELS = 6.0  # of 255: the largest mean error of a small image saved at quality 95
WRITERS_AND_VARIANTS = WRITERS | {"parts, backgrounds anew in each": partial(write_parts, start_anew=True)}
CUTOUT_IN_NAME = "^f[0-9]+"  # in the names that the layout four_zips is written with here


def _open(params, layout: str, folder: Path, changes: dict):
    return find_source_class(layout)(folder, make_download(params, layout, folder, changes))


@pytest.fixture(scope="module")
def composites():
    return make_composites(NUM_BACKGROUNDS, NUM_CUTOUTS, NUM_PLACES)


@pytest.fixture(scope="module", params=list(WRITERS_AND_VARIANTS))
def written(request, tmp_path_factory, composites):
    """(layout, folder, changes to the download params, composites in the order of what is expected, what is expected)"""
    folder = tmp_path_factory.mktemp("layout") / "a set"
    changes, expected = WRITERS_AND_VARIANTS[request.param](folder, composites)
    ordered = sorted(composites, key=lambda m: m.place) if "anew" in request.param else composites
    return request.param.split(",")[0], folder, changes, ordered, expected


def test_each_composite_comes_back_with_its_background_and_its_cutout(params, written):
    layout, folder, changes, composites, expected = written
    source = _open(params, layout, folder, changes)
    assert source.has_backgrounds and source.has_depth
    read = {composite.key: composite for composite in source.composites}
    assert len(read) == len(source.composites) == len(expected)
    for made, printed in zip(composites, expected, strict=True):
        composite = read[printed.key]
        assert (composite.background, composite.cutout) == (printed.background, printed.cutout)
        sample = look_at(source.read_composite(composite))
        for name, white in (("image", 255), ("background", 255), ("mask", 1), ("depth", 1)):
            original, back = (getattr(s, name).astype(np.float32) for s in (made.sample, sample))
            assert np.abs(original - back).mean() <= JPEG_LEVELS * white / 255, (printed.key, name)
        assert sample.valid.all() and sample.origin == composite
    assert len(list(source.check())) == len(expected)
    assert source.skipped == [] and source.warnings == []


def test_what_is_copied_is_the_same_source(params, written, tmp_path):
    layout, folder, changes, *_ = written
    original = _open(params, layout, folder, changes)
    record = fetch(make_download(params, layout, folder, changes), tmp_path / "raw")
    copied = open_source(tmp_path / "raw")
    assert copied.composites == original.composites
    assert record["num_files"] == len(original.files()) == 3 * len(original.composites) + NUM_BACKGROUNDS
    one = copied.composites[5]
    again, before = (source.read_composite(one) for source in (copied, original))
    assert all(np.array_equal(getattr(again, name), getattr(before, name)) for name in ("image", "mask", "depth", "background"))


def test_no_background_and_no_cutout_is_in_two_parts(params, written, tmp_path):
    layout, folder, changes, *_ = written
    fetch(make_download(params, layout, folder, changes), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store")
    pattern = CUTOUT_IN_NAME if layout == "four_zips" else None
    split = params.split.model_copy(update={"test": 0.25, "validation": 0.25, "cutout_group": pattern})
    write_packed(tmp_path, split_packed(PackedSource(tmp_path / "store"), split, seed=0), "of this store")
    parts = [read_csv(tmp_path / f"{part}.csv") for part in PARTS]
    assert all(parts)
    for role in ("background", "cutout"):
        found = [{row[role] for row in part} for part in parts]
        assert "" not in set.union(*found)
        assert len(set.union(*found)) == sum(map(len, found)), f"a {role} in two parts"
    held = Counter(row["key"] for part in parts for row in part)
    assert set(held.values()) == {1}


def test_bare_backgrounds_go_through_resizing_with_their_composite(params, written, tmp_path):
    layout, folder, changes, *_ = written
    raw, split = tmp_path / "raw", tmp_path / "split"
    fetch(make_download(params, layout, folder, changes), raw)
    pack_small(raw, tmp_path / "store")
    packed = PackedSource(tmp_path / "store")
    split.mkdir()
    quarters = params.split.model_copy(update={"test": 0.25, "validation": 0.25})
    write_packed(split, split_packed(packed, quarters, seed=0), packed.identity)
    options = {"compose": params.compose, "seed": 0, "num_samples": 3, "with_background": True}
    samples = open_samples(tmp_path / "store", split, "train", image_size_px=32, **options)
    for index in range(3):
        sample = make_sample(samples, index)
        outside = sample.mask < 0.02
        assert sample.background.shape == sample.image.shape == (32, 32, 3)
        assert np.abs(sample.image[outside].astype(int) - sample.background[outside]).mean() <= JPEG_LEVELS


@pytest.fixture
def numbered(tmp_path, composites, params):
    folder = tmp_path / "set"
    changes, _ = WRITERS["flat_numbered"](folder, composites)
    return folder, partial(make_download, params, "flat_numbered", folder), changes


def test_missing_and_extra_files_are_counted_and_the_first_ten_named(numbered, tmp_path):
    folder, download, changes = numbered
    for number in range(1, 13):
        (folder / f"masks/mask{number:06d}.jpg").rename(folder / f"masks/mask{number + 100:06d}.jpg")
    ten = ", ".join(f"{number:06d}" for number in range(1, 11))
    with pytest.raises(UserError, match=rf"masks: mask missing for 12 of 24 images: {ten}, \.\.\.; add or remove"):
        fetch(download(changes), tmp_path / "raw")
    for number in range(1, 13):
        shutil.copyfile(folder / f"masks/mask{number + 100:06d}.jpg", folder / f"masks/mask{number:06d}.jpg")
    with pytest.raises(UserError, match=r"masks: mask without a partner for 12 of 24 images: 000101, .*, 000110, \.\.\.;"):
        fetch(download(changes), tmp_path / "raw")


def test_names_that_do_not_fit_are_counted_and_named(numbered, tmp_path):
    folder, download, changes = numbered
    for name in ("copy of 1.jpg", "fgbg7b.jpg"):
        save(folder / "images" / name, np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(UserError, match=r"images: 2 of 26 names do not fit fgbgNUMBER: copy of 1\.jpg, fgbg7b\.jpg; rename"):
        fetch(download(changes), tmp_path / "raw")


def test_bad_samples_are_skipped_and_listed_if_asked(numbered, tmp_path):
    folder, download, changes = numbered
    (folder / "masks/mask000002.jpg").unlink()
    (folder / "depth/fgbg000003.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "masks/mask000005.jpg")
    save(folder / "images/stray.jpg", np.zeros((48, 48, 3), np.uint8))
    records = [fetch(download(changes | {"on_bad_sample": "skip"}), tmp_path / f"raw{turn}") for turn in range(2)]
    assert records[0] == records[1]
    assert (tmp_path / "raw0/source.json").read_bytes() == (tmp_path / "raw1/source.json").read_bytes()
    reasons = {entry["key"]: entry["reason"] for entry in records[0]["skipped"]}
    assert list(reasons) == ["stray.jpg", "000002", "000003", "000005"]
    assert reasons["000002"] == "mask missing"
    assert reasons["000003"].startswith("depth/fgbg000003.jpg: not a readable image (0 bytes)")
    assert reasons["000005"].startswith("masks/mask000005.jpg: mask has 9 x 9 px, but fgbg000005.jpg has 48 x 48 px")
    source = open_source(tmp_path / "raw0")
    assert [c.key for c in source.composites] == [f"{n:06d}" for n in (1, 4, *range(6, 25))]
    assert records[0]["num_files"] == 3 * 21 + NUM_BACKGROUNDS
    with pytest.raises(UserError, match="do not fit"):
        fetch(download(changes), tmp_path / "raw0")


def test_more_bad_samples_than_good_ones_are_an_error_all_the_same(numbered, tmp_path):
    folder, download, changes = numbered
    for number in range(1, 14):
        (folder / f"images/fgbg{number:06d}.jpg").write_bytes(b"gone")
    with pytest.raises(
        UserError, match=r"13 samples are bad and only 11 are good; the first, 000001: images/fgbg000001.jpg: not a readable"
    ):
        fetch(download(changes | {"on_bad_sample": "skip"}), tmp_path / "raw")


def test_a_bad_background_is_never_skipped(numbered, tmp_path):
    folder, download, changes = numbered
    (folder / "bare/room2.jpg").write_bytes(b"gone")
    with pytest.raises(UserError, match=r"room2\.jpg: not a readable image"):
        fetch(download(changes | {"on_bad_sample": "skip"}), tmp_path / "raw")
    (folder / "bare/room2.jpg").unlink()
    with pytest.raises(UserError, match=r"bare: clean background missing for 1 of 4 backgrounds: bg0003; .* numbering"):
        fetch(download(changes), tmp_path / "raw")


def test_number_zero_shifts_the_count_and_cannot_be_skipped(numbered, tmp_path):
    folder, download, changes = numbered
    for pattern in ("images/fgbg{:06d}.jpg", "masks/mask{:06d}.jpg", "depth/fgbg{:06d}.jpg"):
        for number in range(1, 25):
            (folder / pattern.format(number)).rename(folder / pattern.format(number - 1))
    source = find_source_class("flat_numbered")(folder, download(changes))
    assert Counter(c.background for c in source.composites) == {f"bg{b:04d}": 6 for b in range(4)}
    (folder / "masks/mask000000.jpg").unlink()
    with pytest.raises(UserError, match=r"fgbg000000\.jpg: number 0 cannot be skipped"):
        fetch(download(changes | {"on_bad_sample": "skip"}), tmp_path / "raw")


def test_swapped_masks_and_depth_maps_are_reported(numbered, tmp_path):
    folder, download, changes = numbered
    for number in range(1, 25):
        mask, depth = folder / f"masks/mask{number:06d}.jpg", folder / f"depth/fgbg{number:06d}.jpg"
        aside = mask.read_bytes()
        depth.replace(mask)
        depth.write_bytes(aside)
    fetch(download(changes | {"on_bad_sample": "skip"}), tmp_path / "raw")
    record = pack_small(tmp_path / "raw", tmp_path / "store")
    assert [line for line in record["warnings"] if "are masks and depth swapped?" in line]


def test_backgrounds_in_another_order_are_reported(numbered, tmp_path):
    folder, download, changes = numbered
    (folder / "bare/room1.jpg").rename(folder / "bare/room9.jpg")
    assert fetch(download(changes), tmp_path / "raw")["warnings"] == []
    record = pack_small(tmp_path / "raw", tmp_path / "store")
    assert read_record(tmp_path / "store", "pack")["warnings"] == record["warnings"]
    assert "sorted by number?" in record["warnings"][0]


def test_composites_without_depth_maps_teach_masks_alone(numbered, tmp_path):
    folder, download, changes = numbered
    shutil.rmtree(folder / "depth")
    record = fetch(download(changes), tmp_path / "raw")
    printed = ["no depth maps in depth: only masks can be learnt and scored"]
    assert record["warnings"] == printed == pack_small(tmp_path / "raw", tmp_path / "store")["warnings"]
    packed = PackedSource(tmp_path / "store").read(5, 32)
    assert not packed.valid.any() and not packed.depth.any() and packed.mask.max() == 255
    source = open_source(tmp_path / "raw")
    sample = source.read_composite(source.composites[0])
    assert not source.has_depth and not sample.valid.any() and sample.mask.max() == 255


def test_one_name_in_two_folders_is_rejected(tmp_path, composites, params):
    folder = tmp_path / "set"
    changes, expected = WRITERS["four_zips"](folder, composites)
    name = f"{expected[0].key}.jpg"
    (folder / "one/OverlayedImages/again").mkdir()
    shutil.copyfile(folder / "one/OverlayedImages/set0" / name, folder / "one/OverlayedImages/again" / name)
    with pytest.raises(UserError, match=rf"set0/{name}: has the same name or number as .*again/{name}; rename or remove one"):
        _open(params, "four_zips", folder, changes)


def test_copies_of_a_bare_background_stay_together(numbered, params, tmp_path):
    folder, download, changes = numbered
    flipped = Image.open(folder / "bare/room1.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(folder / "bare/room2.jpg", quality=95)
    fetch(download(changes), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store")
    source = PackedSource(tmp_path / "store")
    index = source.read_index()
    assert index.background_names[:2] == ["bg0000", "bg0001"]
    for seed in range(4):
        made = split_packed(source, params.split.model_copy(update={"test": 0.3, "validation": 0.3}), seed)
        parts = {int(background): part for part, rows in made.rows.items() for background in index.backgrounds[rows]}
        assert len({parts[number] for number in (0, 1) if number in parts}) == 1
        assert made.groups["bg0000"] == made.groups["bg0001"] == "bg0000" != made.groups["bg0002"]
