"""No test background or cut-out, nor a copy or a flip of one, is in train."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv
from depthmask.data.images import read_rgb, read_rgba
from depthmask.download.fetch import fetch
from depthmask.loading.split_files import PARTS, count_rows, read_part
from depthmask.sources import open_source
from depthmask.sources.packed import CompositeIndex
from depthmask.split.assets import (
    SAME_LEVELS,
    THUMBNAIL_PX,
    assign_groups,
    find_copies,
    group_keys,
    split_source,
    write_parts,
)
from depthmask.split.packed import split_packed, write_packed

QUARTERS = {"validation": 0.25, "test": 0.25}


def make_index(num_backgrounds: int, num_cutouts: int, num_places: int) -> CompositeIndex:
    numbers = [(b, f, i) for b in range(num_backgrounds) for f in range(num_cutouts) for i in range(num_places)]
    return CompositeIndex(
        keys=np.array([f"b{b:02d}_f{f:02d}_{i}".encode() for b, f, i in numbers]),
        backgrounds=np.array([b for b, _, _ in numbers], np.int32),
        cutouts=np.array([f for _, f, _ in numbers], np.int32),
        background_names=[f"b{b:02d}" for b in range(num_backgrounds)],
        cutout_names=[f"f{f:02d}" for f in range(num_cutouts)],
    )


class Indexed:
    """Of a packed source, what the split looks at."""

    has_backgrounds = has_photos = False

    def __init__(self, index: CompositeIndex):
        self._index = index

    def read_index(self) -> CompositeIndex:
        return self._index


def test_copies_are_those_of_a_look_at_every_pair():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 40 + 18 * n, (THUMBNAIL_PX, THUMBNAIL_PX, 3)).astype(np.uint8) for n in range(12)]
    for number in (0, 3, 5):
        images += [images[number][:, ::-1], np.clip(images[number] + 1.9, 0, 255).astype(np.uint8)]  # the last on average 1 away
        images.append(np.clip(images[number].astype(int) + rng.integers(-5, 6, images[number].shape), 0, 255).astype(np.uint8))
    pairs = {
        (a, b)
        for a in range(len(images))
        for b in range(a + 1, len(images))
        for other in (images[b], images[b][:, ::-1])
        if np.abs(images[a].astype(np.float32) - other).mean() < SAME_LEVELS
    }
    found = find_copies([str(number) for number in range(len(images))], lambda key: images[int(key)])
    assert len(pairs) >= 6 and {(int(a), int(b)) for a, b in found} == pairs


def test_neither_a_test_picture_nor_its_flip_is_in_train(tmp_path, small_demo, params):
    """The proof is by pixels, not by names: flips of every other image are put in under names of their own."""
    shutil.copytree(small_demo, tmp_path / "demo")
    shutil.rmtree(tmp_path / "demo/bg_depth")
    shutil.rmtree(tmp_path / "demo/fg_depth")
    for number, kind in enumerate(("bg", "fg")):
        for file in sorted((tmp_path / "demo" / kind).iterdir())[::2]:
            flipped = Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            flipped.save(file.with_stem(f"{number}flip_{file.stem}"), quality=90)
    fetch(params.download.model_copy(update={"path": str(tmp_path / "demo")}), tmp_path / "raw")
    source = open_source(tmp_path / "raw")
    write_parts(tmp_path / "split", split_source(source, params.split.model_copy(update=QUARTERS), seed=3))
    parts = {part: read_part(tmp_path / "split", part) for part in PARTS}
    assert sum(len(p.backgrounds) for p in parts.values()) == 18
    read = {"backgrounds": lambda key: read_rgb(source._backgrounds[key]), "cutouts": lambda key: read_rgba(source._cutouts[key])}
    for role in ("backgrounds", "cutouts"):
        for held_out in ("validation", "test"):
            assert not set(getattr(parts["train"], role)) & set(getattr(parts[held_out], role))
            for key in getattr(parts[held_out], role):
                picture = read[role](key).astype(int)
                for train_key in getattr(parts["train"], role):
                    other = read[role](train_key).astype(int)
                    if other.shape == picture.shape:
                        assert np.abs(other - picture).mean() > 4, (key, train_key)
                        assert np.abs(other - picture[:, ::-1]).mean() > 4, (key, train_key, "flipped")


def test_composites_of_train_and_test_share_neither_background_nor_cutout(params):
    index = make_index(num_backgrounds=12, num_cutouts=12, num_places=2)
    rows = split_packed(Indexed(index), params.split.model_copy(update=QUARTERS), seed=0).rows
    seen = {part: [set(numbers[rows[part]].tolist()) for numbers in (index.backgrounds, index.cutouts)] for part in PARTS}
    for one in PARTS:
        for other in set(PARTS) - {one}:
            assert not seen[one][0] & seen[other][0]
            assert not seen[one][1] & seen[other][1]
    assert len(rows["train"]) == 6 * 6 * 2


def test_fraction_of_composites_is_drawn_for_each_part(params):
    source = Indexed(make_index(num_backgrounds=12, num_cutouts=12, num_places=20))
    split = params.split.model_copy(update=QUARTERS)
    whole, half = (split_packed(source, split.model_copy(update={"fraction": f}), seed=0).rows for f in (1.0, 0.5))
    for part in PARTS:
        assert set(half[part]) < set(whole[part])
        assert len(half[part]) == pytest.approx(0.5 * len(whole[part]), rel=0.15)


def test_cutouts_that_only_the_names_identify_are_kept_apart(params, tmp_path):
    index = make_index(num_backgrounds=12, num_cutouts=12, num_places=2)
    untold = Indexed(replace(index, cutouts=np.full(len(index.keys), -1, np.int32), cutout_names=[]))
    split = params.split.model_copy(update=QUARTERS)
    assert not split_packed(untold, split, seed=0).knows_cutouts
    named = split_packed(untold, split.model_copy(update={"cutout_group": "_(f[0-9]+)_"}), seed=0)
    assert named.knows_cutouts and named.index.cutout_names == index.cutout_names
    printed = split_packed(Indexed(index), split, seed=0)
    assert all(np.array_equal(named.rows[part], printed.rows[part]) for part in PARTS)
    write_packed(tmp_path, named, store="a")
    listed = [row for part in PARTS for row in read_csv(tmp_path / f"{part}.csv")]
    assert all(row["key"] == f"{row['background']}_{row['cutout']}_{row['key'][-1]}" for row in listed)
    assert count_rows(tmp_path, "train") == len(printed.rows["train"]) == len(read_csv(tmp_path / "train.csv"))
    with pytest.raises(UserError, match=r"split\.cutout_group: \^z finds no cut-out in the name b00_f00_0; correct it"):
        split_packed(untold, split.model_copy(update={"cutout_group": "^z"}), seed=0)


def test_the_split_depends_on_the_seed_and_on_nothing_else(params, raw):
    source = open_source(raw)
    settings = params.split.model_copy(update=QUARTERS)
    assert split_source(source, settings, 1) == split_source(source, settings, 1)
    assert split_source(source, settings, 1) != split_source(source, settings, 2)


def test_fraction_uses_that_part_of_the_keys(params):
    groups = {f"{i:03d}": [f"{i:03d}"] for i in range(100)}
    parts = assign_groups(
        groups, params.split.model_copy(update={"fraction": 0.4, "test": 0.25, "validation": 0.125}), 0, "background"
    )
    assert {part: len(names) for part, names in parts.items()} == {"test": 10, "validation": 5, "train": 25}


def test_each_part_has_its_share_of_each_kind(params):
    groups = {f"{i:03d}": [f"{i:03d}"] for i in range(96)}
    kinds = {key: "person" if int(key) < 48 else "animal" if int(key) < 72 else "object" for key in groups}
    for seed in range(5):
        parts = assign_groups(groups, params.split.model_copy(update={"test": 0.125, "validation": 0.125}), seed, "cutout", kinds)
        assert Counter(kinds[key] for key in parts["test"]) == {"person": 6, "animal": 3, "object": 3}
        assert Counter(kinds[key] for key in parts["train"]) == {"person": 36, "animal": 18, "object": 18}


def test_names_that_match_alike_stay_together():
    keys = [f"room{i // 3}_{i}" for i in range(12)]
    noise = {key: np.random.default_rng(i).integers(0, 255, (20, 20, 3), np.uint8) for i, key in enumerate(keys)}
    groups = group_keys(keys, r"^room\d+", find_copies(keys, noise.__getitem__))
    assert Counter(map(len, groups.values())) == {3: 4}
    assert groups["room0_0"] == ["room0_0", "room0_1", "room0_2"]


def test_a_part_without_anything_is_an_error_that_says_what_to_change(params):
    with pytest.raises(UserError, match=r"2 independent background groups .* leave none for train; .*split\.background_group"):
        assign_groups({"a": ["a"], "b": ["b"]}, params.split, 0, "background")
