"""The folds of a cross-validation: each group is tested once, and never trained on where it is tested."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_splitting import Indexed, make_index

from depthmask.base.errors import UserError
from depthmask.cross_validation.scored_part import read_scored_part
from depthmask.loading.split_files import PARTS, read_part
from depthmask.params import SplitParams
from depthmask.split.assets import assign_alone
from depthmask.split.folds import Fold, divide_groups, spread_test
from depthmask.split.packed import PackedSplit, split_packed
from depthmask.split.writing import write_split

SPLIT = SplitParams(fraction=1.0, validation=0.1, test=0.25, background_group=None, cutout_group=None, seed=None)


def choose_all(groups: dict[str, list[str]], seed: int, count: int, kinds=None, split: SplitParams = SPLIT) -> list[dict]:
    return [Fold(number, count).choose_parts(groups, split, seed, "background", kinds) for number in range(1, count + 1)]


@st.composite
def draw_groups(draw) -> tuple[dict[str, list[str]], dict[str, str], int]:
    count = draw(st.integers(2, 6))
    sizes = draw(st.lists(st.integers(1, 7), min_size=count + 2, max_size=40))
    groups, kinds = {}, {}
    for number, size in enumerate(sizes):
        keys = [f"{number:02d}_{i}" for i in range(size)]
        groups[keys[0]] = keys
        kinds |= dict.fromkeys(keys, draw(st.sampled_from(["person", "animal", "object"])))
    return groups, kinds, count


@settings(max_examples=200, deadline=None)
@given(drawn=draw_groups(), seed=st.integers(0, 2**32 - 1))
def test_the_test_parts_are_a_partition_and_no_fold_leaks(drawn, seed):
    groups, kinds, count = drawn
    try:
        folds = choose_all(groups, seed, count, kinds)
    except UserError as error:  # two folds of which one holds nearly all leave too little
        assert count == 2 and "too few for 2 folds" in str(error)
        return
    tested = Counter(name for parts in folds for name in parts["test"])
    assert tested == Counter(dict.fromkeys(groups, 1))
    for parts in folds:
        assert sorted(name for part in PARTS for name in parts[part]) == sorted(groups)  # each in one part, none in two
        assert all(parts[part] for part in PARTS)
    again = choose_all(dict(reversed(groups.items())), seed, count, kinds)
    assert again == folds


@settings(max_examples=100, deadline=None)
@given(drawn=draw_groups())
def test_folds_are_as_equal_as_the_largest_group_allows(drawn):
    groups, _, count = drawn
    sizes = {name: len(keys) for name, keys in groups.items()}
    place = divide_groups(sorted(groups), sizes, dict.fromkeys(groups), count)
    filled = [sum(sizes[name] for name in place if place[name] == fold) for fold in range(1, count + 1)]
    assert max(filled) - min(filled) <= max(sizes.values())


def test_each_fold_has_its_share_of_each_kind():
    groups = {f"{i:03d}": [f"{i:03d}"] for i in range(120)}
    kinds = {key: "person" if int(key) < 60 else "animal" if int(key) < 90 else "object" for key in groups}
    for parts in choose_all(groups, 3, 5, kinds):
        assert Counter(kinds[key] for key in parts["test"]) == {"person": 12, "animal": 6, "object": 6}
        held_out = Counter(kinds[key] for key in parts["validation"])
        assert sum(held_out.values()) == 12 and held_out["person"] == 6 and held_out["animal"] == 3


def test_validation_differs_from_fold_to_fold_and_the_test_fraction_does_not_matter():
    groups = {f"{i:03d}": [f"{i:03d}"] for i in range(40)}
    folds = choose_all(groups, 0, 4)
    assert len({tuple(parts["validation"]) for parts in folds}) == 4
    assert choose_all(groups, 0, 4, split=SPLIT.model_copy(update={"test": 0.5})) == folds
    assert choose_all(groups, 1, 4) != folds


def test_a_fraction_of_the_source_is_folded_alone():
    groups = {f"{i:03d}": [f"{i:03d}"] for i in range(40)}
    folds = choose_all(groups, 0, 4, split=SPLIT.model_copy(update={"fraction": 0.5}))
    assert sum(len(parts["test"]) for parts in folds) == 20
    assert all(sum(map(len, parts.values())) == 20 for parts in folds)


def test_too_few_groups_are_one_line_that_says_what_to_change():
    with pytest.raises(UserError, match=r"3 independent cutout groups \(3 cutouts used\) are too few for 5 folds.*cutout_group"):
        Fold(1, 5).choose_parts({name: [name] for name in "abc"}, SPLIT, 0, "cutout")
    with pytest.raises(UserError, match="each with something left for train"):
        Fold(1, 2).choose_parts({name: [name] for name in "ab"}, SPLIT, 0, "background")


def test_packed_composites_of_a_fold_pair_its_own_pictures():
    index = make_index(num_backgrounds=12, num_cutouts=9, num_places=2)
    tested = []
    for number in (1, 2, 3):
        fold = Fold(number, 3)

        def assign(role, params, fold=fold):
            return assign_alone(role, params, 0, fold.choose_parts)

        rows = split_packed(Indexed(index), SPLIT, 0, assign).rows
        seen = {part: [set(numbers[rows[part]].tolist()) for numbers in (index.backgrounds, index.cutouts)] for part in PARTS}
        for held_out in ("validation", "test"):
            assert not seen["train"][0] & seen[held_out][0] and not seen["train"][1] & seen[held_out][1]
        assert len(rows["test"]) == 4 * 3 * 2
        tested.append(seen["test"])
    for kind, number in ((0, 12), (1, 9)):
        assert sorted(name for fold in tested for name in fold[kind]) == list(range(number))


def test_the_first_packed_test_rows_are_of_all_backgrounds():
    index = make_index(num_backgrounds=5, num_cutouts=4, num_places=10)
    rows = {"train": np.arange(0), "validation": np.arange(0), "test": np.arange(200, dtype=np.int32)}
    split = PackedSplit(rows, index, {})
    spread = spread_test(split, seed=0).rows["test"]
    assert sorted(spread.tolist()) == list(range(200)) and spread.dtype == np.int32
    for start in range(0, 200, 5):
        assert set(index.backgrounds[spread[start : start + 5]].tolist()) == set(range(5))
    assert np.array_equal(spread_test(split, seed=0).rows["test"], spread)
    assert not np.array_equal(spread_test(split, seed=1).rows["test"], spread)


def test_a_written_fold_tests_every_picture_of_the_pack_once(raw, params, tmp_path):
    changed = params.model_copy(update={"split": SPLIT})
    tested: dict[str, list[str]] = {"backgrounds": [], "cutouts": []}
    for number in (1, 2, 3):
        folder = tmp_path / f"fold{number}"
        folder.mkdir()
        write_split(folder, raw, changed, Fold(number, 3))
        parts = {part: read_part(folder, part) for part in PARTS}
        for kind, listed in tested.items():
            listed += getattr(parts["test"], kind)
            assert not set(getattr(parts["train"], kind)) & set(getattr(parts["test"], kind))
            assert len({key for part in parts.values() for key in getattr(part, kind)}) == 12
        scored = read_scored_part(folder)
        assert scored.num_needed == 4
        assert scored.names["background"] == set(parts["test"].backgrounds)
    assert {kind: len(set(listed)) for kind, listed in tested.items()} == {"backgrounds": 12, "cutouts": 12}
    assert all(len(listed) == 12 for listed in tested.values())
    shutil.rmtree(tmp_path / "fold1")
    (tmp_path / "fold1").mkdir()
    write_split(tmp_path / "fold1", raw, changed, Fold(1, 3))
    assert read_part(tmp_path / "fold1", "test") != read_part(tmp_path / "fold2", "test")
