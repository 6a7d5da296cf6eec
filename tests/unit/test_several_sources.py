"""Several sources in one training: declared, split, mixed, converted and scored."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_mixtures import COPIED, MASK_AND_SHAPE, write_sources
from tiny_project import TINY, change_params

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv, read_json
from depthmask.commands import check, show
from depthmask.cross_validation.scored_part import read_scored_part
from depthmask.data.batch import ABSOLUTE, AFFINE, AFFINE_TO_INVERSE
from depthmask.loading import mixed
from depthmask.loading.dataset import open_samples
from depthmask.loading.depth_scale import DepthScale, make_depth_scale
from depthmask.loading.mixed import Draws, interleave, share_samples
from depthmask.loading.split_files import PARTS, read_weights
from depthmask.losses.depth import scale_shift_invariant
from depthmask.params import AugmentParams, DepthParams, load_params
from depthmask.preflight.leftovers import remove_other_runs, remove_other_sources
from depthmask.sources.folders import choose_data
from depthmask.split.folds import Fold
from depthmask.split.statistics import mix_channels
from depthmask.split.writing import write_split
from stages import download as download_stage
from stages import pack as pack_stage
from stages import split as split_stage

PARAMS = Path(__file__).parents[2] / "params.yaml"
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 255, "raw_unknown": None}
RELATIVE = METRES | {"unit": "relative", "polarity": "near_is_large", "max": 1.0}
LOSS = {"loss": yaml.safe_load(PARAMS.read_text())["loss"] | MASK_AND_SHAPE}
NAMES = ["demo", "rooms", "composites"]


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_demo) -> Path:
    """A folder with params.yaml and three sources, after download, pack and split."""
    root = tmp_path_factory.mktemp("several")
    shutil.copyfile(PARAMS, root / "params.yaml")
    shutil.copytree(small_demo, root / "data/demo")
    make_folder(root / "data/photos")
    make_folder(root / "data/ensemble")
    more = {"download": {"more_sources": write_sources(root)}, "split": {"test": 0.25, "validation": 0.2}}
    change_params(root, TINY | LOSS | more)
    with contextlib.chdir(root):
        assert download_stage.main(["--out", "raw"]) == 0
        for name in NAMES[1:]:
            assert download_stage.main(["--source", name, "--out", f"more/{name}", "--run", f"{name}.json"]) == 0
        places = ["--raw", "raw", "--more", "more"]
        assert pack_stage.main([*places, "--out", "store"]) == 0
        assert split_stage.main([*places, "--store", "store", "--out", "split"]) == 0
    return root


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def open_mixture(project: Path, part: str, num_samples: int, **options):
    params, names = load_params(project / "params.yaml"), list(read_weights(project / "split"))
    data = choose_data(project / "raw", project / "store", project / "more", names)
    common = {"image_size_px": 32, "compose": params.compose, "seed": 0, "with_background": True} | options
    return open_samples(data, project / "split", part, num_samples=num_samples, **common)


def test_metres_are_converted_between_maxima():
    first, nearer, farther = (DepthParams(**METRES | {"max": value}) for value in (10.0, 5.0, 20.0))
    depth, valid = np.array([0.2, 1.0, 0.0], np.float32), np.array([True, True, False])
    assert make_depth_scale(nearer, first, is_first=False).convert(depth, valid) == 1
    assert depth.tolist() == pytest.approx([0.1, 0, 0])  # 1 m of 10; at its maximum the nearer source knows no depth
    assert valid.tolist() == [True, False, False]
    depth, valid = np.array([0.2, 0.5, 0.75], np.float32), np.array([True, True, True])
    assert make_depth_scale(farther, first, is_first=False).convert(depth, valid) == 1
    assert depth.tolist() == pytest.approx([0.4, 1.0, 1.0]) and valid.all()  # 15 m of 10 are clipped, as the first's own are
    assert make_depth_scale(first, first, is_first=True) == DepthScale()


def test_relative_depth_is_compared_with_what_it_grows_with():
    metres, relative = DepthParams(**METRES), DepthParams(**RELATIVE)
    near_is_small = DepthParams(**RELATIVE | {"polarity": "near_is_small"})
    assert make_depth_scale(relative, metres, is_first=False) == DepthScale(1.0, AFFINE_TO_INVERSE)
    assert make_depth_scale(near_is_small, metres, is_first=False) == DepthScale(1.0, AFFINE)
    assert make_depth_scale(relative, relative, is_first=False) == DepthScale(1.0, AFFINE)
    assert make_depth_scale(relative, relative, is_first=True) == DepthScale()


def test_the_loss_of_shapes_ignores_scale_and_shift_of_each_image():
    generator = torch.Generator().manual_seed(0)
    depth, target = (torch.rand((3, 1, 16, 16), generator=generator) for _ in range(2))
    valid = torch.rand((3, 1, 16, 16), generator=generator) > 0.3
    value = scale_shift_invariant(depth, target, valid)
    scales, shifts = torch.tensor([0.5, 2.0, 3.0])[:, None, None, None], torch.tensor([0.1, -0.2, 5.0])[:, None, None, None]
    assert scale_shift_invariant(depth * scales + shifts, target, valid) == pytest.approx(float(value), rel=1e-4)
    assert scale_shift_invariant(depth, target * scales + shifts, valid) == pytest.approx(float(value), rel=1e-4)
    assert scale_shift_invariant(2 * target + 1, target, valid) == pytest.approx(0, abs=1e-5)
    assert scale_shift_invariant(-target, target, valid) > value  # a negative scale is no fit


def test_the_loss_of_shapes_by_hand():
    # mean 2, mean deviation 1: -1, 1; the prediction the other way round; every pixel differs by 2
    target, depth = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2), torch.tensor([3.0, 1.0]).reshape(1, 1, 1, 2)
    valid = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    # the error is 2, -2: its step is 4 at scale 1 and there is none in larger cells; half of it is added
    assert scale_shift_invariant(depth, target, valid) == pytest.approx(2 + 4 / 2)
    assert scale_shift_invariant(depth, torch.full_like(target, 0.5), valid) == 0  # without shape
    assert scale_shift_invariant(depth, target, valid & False) == 0
    flat = torch.full_like(depth, 0.5, requires_grad=True)
    scale_shift_invariant(flat, target, valid).backward()
    assert torch.isfinite(flat.grad).all() and flat.grad.abs().sum() > 0


def test_each_stretch_of_an_epoch_has_every_source_in_its_share():
    shares = np.cumsum([0.5, 0.3, 0.2])
    for epoch in (0, 7):
        draws = Draws(3, epoch, shares)
        chosen = [draws.find(index)[0] for index in range(1000)]
        for start in range(0, 1000, 20):
            counted = Counter(chosen[start : start + 20])
            assert all(abs(counted[number] - 20 * share) <= 2 for number, share in enumerate((0.5, 0.3, 0.2)))
        assert [Counter(chosen)[number] / 1000 for number in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.005)
    one, other = ([Draws(3, epoch, shares).find(index) for index in range(50)] for epoch in (0, 1))
    assert one != other


def test_within_a_source_samples_follow_each_other_whatever_is_asked_for_first(monkeypatch):
    shares = np.cumsum([0.7, 0.25, 0.05])
    monkeypatch.setattr(mixed, "BLOCK", 64)  # several blocks
    found = [Draws(3, 5, shares).find(index) for index in range(1000)]
    for source in range(3):
        within = [place for number, place in found if number == source]
        assert within == list(range(len(within)))
    again, order = Draws(3, 5, shares), np.random.default_rng(0).permutation(1000)
    assert [again.find(int(index)) for index in order] == [found[index] for index in order]


def test_fixed_samples_are_shared_by_weight_for_validation_and_equally_for_the_test():
    assert share_samples("validation", 10, [1.0, 0.5, 0.5]) == [5, 3, 2]
    assert share_samples("test", 10, [1.0, 0.5, 0.5]) == [4, 3, 3]
    assert share_samples("validation", 3, [1000.0, 0.001]) == [3, 1]
    assert share_samples("train", 10, [1.0, 0.5]) == [10, 10]
    assert interleave([3, 1]).tolist() == [[0, 0], [0, 1], [1, 0], [0, 2]]


def test_statistics_of_a_mixture_are_those_of_its_samples():
    generator = np.random.default_rng(0)
    one, other = generator.random(3000), generator.random(1000) * 0.2
    channels = {
        name: {"image": {"mean": [float(values.mean())], "std": [float(values.std())], "num_maps": 5}}
        for name, values in (("a", one), ("b", other))
    }
    channels["b"]["depth"] = {"mean": None, "std": None, "num_maps": 1}
    mixed = mix_channels(channels, {"a": 3.0, "b": 1.0})
    whole = np.concatenate([one, other])
    assert mixed["image"]["mean"] == pytest.approx([whole.mean()], abs=1e-5)
    assert mixed["image"]["std"] == pytest.approx([whole.std()], abs=1e-5)
    assert mixed["depth"]["mean"] is None


def test_no_part_has_what_another_has_of_any_source(project):
    groups: dict[str, set[str]] = {}
    for part in PARTS:
        rows = read_csv(project / f"split/{part}.csv")
        assert {row["source"] for row in rows} == set(NAMES)
        for row in rows:
            for role in ("background", "cutout"):
                if row["role"] in (role, "composite"):
                    name = row["key"] if row["role"] == role else row[role]
                    groups.setdefault(f"{row['source']} {role} {name}", set()).add(part)
    assert len(groups) > 40 and all(len(parts) == 1 for parts in groups.values())
    assert groups["rooms background room_copy"] == groups[f"demo background {COPIED}"], "a flipped copy in another source"
    counts = read_json(project / "split/statistics.json")
    assert counts["counts"]["test"]["background"] == sum(
        counts["sources"][name]["counts"]["test"]["background"] for name in ("demo", "rooms")
    )


def test_a_further_source_leaves_the_split_of_the_first_as_it_was(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["download"]["more_sources"] = {}
    (project / "alone.yaml").write_text(yaml.safe_dump(params))
    with contextlib.chdir(project):
        assert split_stage.main(["--params", "alone.yaml", "--raw", "raw", "--out", "alone"]) == 0
    for part in PARTS:
        alone, mixed = (read_csv(project / folder / f"{part}.csv") for folder in ("alone", "split/demo"))
        assert [row["key"] for row in alone] == [row["key"] for row in mixed], part


def test_folds_of_several_sources_keep_copies_together_and_test_every_picture_once(project, tmp_path):
    params, tested = load_params(project / "params.yaml"), []
    data = choose_data(project / "raw", project / "store", project / "more", NAMES)
    for number in (1, 2, 3):
        folder = make_folder(tmp_path / f"fold{number}")
        write_split(folder, data, params, Fold(number, 3))
        groups = {part: {(row["role"] == "cutout", row["group"]) for row in read_csv(folder / f"{part}.csv")} for part in PARTS}
        assert not groups["train"] & (groups["test"] | groups["validation"]) and not groups["validation"] & groups["test"]
        part = read_scored_part(folder)
        tested += [(kind, name) for kind, names in part.names.items() for name in names]
        for name, source in data.folders.items():
            own = read_csv(folder / name / "test.csv")
            assert part.num_needed >= 3 * len({row["background"] or row["key"] for row in own if row["role"] != "cutout"}), source
        if f"demo/{COPIED}" in part.names["background"]:
            assert "rooms/room_copy" in part.names["background"]
    everything = Counter(tested)
    assert set(everything.values()) == {1}
    of_source = Counter(name.partition("/")[0] for _, name in everything)
    assert of_source == {"demo": 24, "rooms": 21, "composites": 15}


def test_a_sample_is_the_same_in_every_batch_and_after_every_way_of_loading(project):
    samples = open_mixture(project, "train", 64)
    whole = samples[[(1, index) for index in range(64)]]
    counted = Counter(origin.source for origin in whole.origins)
    assert counted["demo"] == pytest.approx(32, abs=2) and counted["rooms"] == pytest.approx(16, abs=2)
    again = open_mixture(project, "train", 64)
    for index in (63, 5, 17):
        one = again[[(1, index)]]
        for kind in ("image", "mask", "depth", "valid", "background", "relative", "relation"):
            assert np.array_equal(getattr(one, kind)[0], getattr(whole, kind)[index]), (kind, index)
        assert one.origins[0] == whole.origins[index]
    other = samples[[(2, index) for index in range(64)]]
    assert [origin.key for origin in other.origins] != [origin.key for origin in whole.origins]


def test_depth_of_another_scale_is_relative_and_nothing_else(project):
    augment = load_params(project / "params.yaml").augment
    batch = open_mixture(project, "train", 48, augment=augment)[[(0, index) for index in range(48)]]
    for b, origin in enumerate(batch.origins):
        is_relative = origin.source == "composites"
        assert batch.relation[b] == (AFFINE if is_relative else ABSOLUTE)
        assert batch.valid[b].any() != is_relative and batch.relative[b].any() == is_relative, origin
    rooms = [b for b, origin in enumerate(batch.origins) if origin.source == "rooms"]
    assert batch.depth[rooms].max() < 5.0 / 20.0, "rooms know nothing beyond 5 m; the first source's 1 stands for 20 m"
    assert not batch.valid[rooms].all()
    floats = batch.to("cpu")
    assert floats.relation_B.tolist() == batch.relation.tolist() and floats.relative_B1HW.shape == floats.valid_B1HW.shape


def test_zoom_keeps_relative_depth_as_it_is(project):
    zoom = AugmentParams(geometric=[{"transform": "zoom", "probability": 1.0, "scale_max": 1.5}], photometric=[])
    places = [(0, index) for index in range(24)]
    plain, zoomed = (open_mixture(project, "train", 24, augment=augment)[places] for augment in (None, zoom))
    for b, origin in enumerate(plain.origins):
        known, moved = (batch.relative[b] if origin.source == "composites" else batch.valid[b] for batch in (plain, zoomed))
        values, before = (set(batch.depth[b][where].tolist()) for batch, where in ((zoomed, moved), (plain, known)))
        # each pixel is one of those before: relative depth has the same values, metres are divided by the enlargement
        assert (values <= before) == (origin.source == "composites"), origin


def test_packed_samples_are_drawn_again_only_when_all_were_drawn(project):
    samples = open_mixture(project, "train", 400)
    packed = samples.sets[2]
    num_rows = len(read_csv(project / "split/composites/train.csv"))
    assert num_rows < 100  # 400 samples go through all rows several times
    batch = samples[[(0, index) for index in range(400)]]
    drawn = [origin.key for origin in batch.origins if origin.source == "composites"]
    assert len(drawn) == pytest.approx(100, abs=2) and num_rows == len(packed) < len(drawn)
    assert set(drawn[:num_rows]) == set(drawn) and len(set(drawn)) == num_rows, "all of them before any comes again"
    assert drawn[num_rows:] != drawn[: len(drawn) - num_rows], "in another order"


def test_the_test_set_has_as_many_of_each_source(project):
    samples = open_mixture(project, "test", 9)
    origins = samples[[(0, index) for index in range(len(samples))]].origins
    assert Counter(origin.source for origin in origins) == {"demo": 3, "rooms": 3, "composites": 3}
    assert {origin.source for origin in origins[:3]} == set(NAMES), "the first few are of all"
    assert len({origin.key for origin in origins}) == 9


def test_a_store_holds_each_packed_source_and_verifies(project, capsys):
    assert sorted(path.name for path in (project / "store").iterdir()) == ["first", "more"]
    assert read_json(project / "store/first/index.json")["is_packed"] is False
    assert read_json(project / "store/more/composites/index.json")["is_packed"] is True
    assert pack_stage.main(["--verify", str(project / "store")]) == 0
    assert "files are intact" in capsys.readouterr().out


def test_what_is_missing_is_said_in_one_line(project, tmp_path):
    with pytest.raises(UserError, match=r"several sources .*--more"):
        choose_data(project / "raw", project / "store", None, NAMES)
    with pytest.raises(UserError, match=r"rooms.*run the download stage first"):
        choose_data(project / "raw", project / "store", tmp_path, NAMES)
    params = ["--params", str(project / "params.yaml")]
    assert download_stage.main([*params, "--source", "room", "--out", str(tmp_path / "raw")]) == 1


def test_a_wrongly_declared_further_source_is_told_its_own_keys(project, tmp_path, capsys):
    params = yaml.safe_load((project / "params.yaml").read_text())
    rooms = params["download"]["more_sources"]["rooms"]
    rooms["path"], rooms["depth"]["raw_max"] = str(project / "rooms"), None
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    where = ["--params", str(tmp_path / "params.yaml"), "--out", str(tmp_path / "raw")]
    with contextlib.chdir(project):
        assert download_stage.main([*where, "--source", "rooms"]) == 1
        assert check.main(["--params", str(tmp_path / "params.yaml"), "--data"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    for line in errors:
        assert "download.more_sources.rooms.depth.raw_max: null is for values in metre" in line


def test_only_what_download_made_of_sources_no_longer_named_is_removed(project, tmp_path):
    download = load_params(project / "params.yaml").download
    shutil.copytree(project / "more/rooms", tmp_path / "rooms")
    shutil.copytree(project / "more/rooms", tmp_path / "old")
    shutil.copytree(project / "more/rooms", tmp_path / "demo")  # the first source was a further one before
    (make_folder(tmp_path / "mine") / "photo.jpg").write_bytes(b"x")
    (tmp_path / "linked").symlink_to("rooms")
    assert remove_other_sources(tmp_path, download) == [tmp_path / "demo", tmp_path / "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linked", "mine", "rooms"]
    for name, file in {"rooms": "run.json", "old": "run.json", "mine": "notes.txt"}.items():
        (make_folder(tmp_path / "reports" / name) / file).write_text("{}")
    assert remove_other_runs(tmp_path / "reports", download) == [tmp_path / "reports/old"]
    assert remove_other_runs(tmp_path / "nowhere", download) == []


def test_sheets_show_every_source(project, capsys):
    with contextlib.chdir(project):
        places = ["--raw", "raw", "--store", "store", "--more", "more", "--split", "split"]
        assert show.main([*places, "--num", "6", "--out", "samples.png"]) == 0
        assert show.main([*places, "--source", "--num", "6", "--out", "source.png"]) == 0
    assert "6 train samples" in capsys.readouterr().out
    assert (project / "samples.png").is_file() and (project / "source.png").is_file()
