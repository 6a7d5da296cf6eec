"""benchmarks/paste_artefacts.py: each shift changes what it says; its scores are those of the stage evaluate, each time alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from importing_benchmarks import import_benchmark
from making_models import make_settings
from tiny_project import TINY

from depthmask.base.files import read_json
from depthmask.data.batch import ByteBatch
from depthmask.loading.dataset import open_samples
from depthmask.models.model_file import make_model, save_model
from stages import evaluate, split

PROJECT = Path(__file__).parents[2]
REALISTIC = {"view_min": 0.7, "harmonize": 0.8, "soften_px": 1.5, "match_sharpness": 0.5, "match_noise": 0.5, "clutter": 3}


@pytest.fixture(scope="module")
def benchmark():
    with import_benchmark("paste_artefacts") as module:
        yield module


@pytest.fixture(scope="module")
def made(tmp_path_factory, raw) -> Path:
    """Params, plain and realistic, a split, and untrained models of both kinds."""
    folder = tmp_path_factory.mktemp("paste")
    _write_params(folder / "plain.yaml", {})
    _write_params(folder / "realistic.yaml", REALISTIC)
    assert split.main(["--params", str(folder / "plain.yaml"), "--raw", str(raw), "--out", str(folder / "split")]) == 0
    channels = read_json(folder / "split/statistics.json")["channels"]
    for name, background in (("with_background", True), ("picture_alone", False)):
        torch.manual_seed(0)
        model = make_model(
            make_settings("compact", width=8, dropout=0.0, background_input=background),
            channels,
            {"unit": "metre", "max": 20.0},
        )
        save_model(model, folder / f"{name}.safetensors")
    return folder


def _write_params(path: Path, compose: dict[str, Any]) -> None:
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    changes = TINY | {"compose": compose, "split": {"test": 0.25, "validation": 0.25}}
    for section, section_changes in changes.items():
        values[section] |= section_changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def _evaluate(made: Path, raw: Path, name: str) -> tuple[bytes, bytes]:
    out = made / f"out_{name}"
    options = {
        "metrics": "m.json",
        "baselines": "b.json",
        "intervals": "i.json",
        "per-image": "p.csv",
        "samples": "s",
        "fixed-samples": "f.png",
    }
    words = [word for option, file in options.items() for word in (f"--{option}", str(out / file))]
    words += ["--params", str(made / f"{name}.yaml"), "--raw", str(raw), "--split", str(made / "split")]
    assert evaluate.main([*words, "--weights", str(made / "with_background.safetensors"), "--run", str(out / "r.json")]) == 0
    return (out / "m.json").read_bytes(), (out / "b.json").read_bytes()


def _run(benchmark, made: Path, raw: Path, weights: str, params: str = "plain") -> dict[str, Any]:
    options = ["--params", str(made / f"{params}.yaml"), "--raw", str(raw), "--split", str(made / "split")]
    result = made / f"{weights}.json"
    weights_file = str(made / f"{weights}.safetensors")
    assert benchmark.main([*options, "--weights", weights_file, "--json", str(result)]) == 0
    return read_json(result)


def test_scores_are_those_of_the_stage_and_the_same_whatever_training_s_composites_look_like(benchmark, made, raw, capsys):
    plain, realistic = _evaluate(made, raw, "plain"), _evaluate(made, raw, "realistic")
    assert plain == realistic, "scores and baselines of test composites"
    capsys.readouterr()
    found = _run(benchmark, made, raw, "with_background")
    table = capsys.readouterr().out
    scored = read_json(made / "out_plain/m.json")["test"]
    first = found["scores"]["as they are"]
    assert first == {"mask IoU": scored["mask"]["iou"], "depth delta1": scored["depth"]["delta1"]}
    assert list(found["scores"]) == list(benchmark.SHIFTS) and found["num_images"] == TINY["evaluate"]["num_samples"]
    assert all(table.count(f"| {name} |") == 1 for name in benchmark.SHIFTS)
    assert f"| as they are | {first['mask IoU']:.3f} | +0.000 |" in table
    assert _run(benchmark, made, raw, "with_background", "realistic") == found


def test_a_model_of_the_image_alone_is_scored_too(benchmark, made, raw):
    scores = _run(benchmark, made, raw, "picture_alone")["scores"]
    assert len({row["mask IoU"] for row in scores.values()}) > len(benchmark.SHIFTS) / 2


@pytest.fixture
def batch(raw, split, params) -> ByteBatch:
    """Composites without shadow, so that outside the mask image and background are equal."""
    compose = params.compose.model_copy(update={"shadow": 0.0})
    common = {"image_size_px": 64, "compose": compose, "seed": 0, "num_samples": 4, "with_background": True}
    return open_samples(raw, split, "test", **common)[[(0, index) for index in range(4)]]


def _copy(batch: ByteBatch) -> ByteBatch:
    arrays = (batch.image, batch.mask, batch.depth, batch.valid, batch.background)
    return ByteBatch(*(values.copy() for values in arrays), list(batch.origins))


def _shift(benchmark, batch: ByteBatch, name: str) -> ByteBatch:
    changed = _copy(batch)
    for b in range(len(changed)):
        benchmark.SHIFTS[name](changed, b, np.random.default_rng(b))
    return changed


def test_a_cutout_that_is_lifted_and_pasted_again_is_the_same(benchmark, batch):
    again = _copy(batch)
    for b in range(len(again)):
        benchmark.change_cutout(lambda rgba, around, rng: rgba)(again, b, np.random.default_rng(0))
    np.testing.assert_array_equal(again.mask, batch.mask)
    assert np.abs(again.image.astype(int) - batch.image).max() <= 1


def test_every_shift_but_the_first_changes_the_image_and_only_photos_change_the_background(benchmark, batch):
    for name in benchmark.SHIFTS:
        changed = _shift(benchmark, batch, name)
        assert (changed.image != batch.image).any() == (name != "as they are"), name
        assert (changed.background != batch.background).any() == name.startswith("photo"), name
        assert (changed.mask != batch.mask).any() == (name.split(",")[0] in CHANGING_EDGE), name
        np.testing.assert_array_equal(changed.depth, batch.depth)
        if name.startswith("cut-out"):
            outside = changed.mask == 0
            assert np.abs(changed.image.astype(int) - changed.background)[outside].max() <= 1, name


CHANGING_EDGE = ("cut-out: hard edge", "cut-out: feathered edge", "cut-out: blurred")


def test_a_hard_edge_has_no_soft_pixel_and_the_same_binary_mask(benchmark, batch):
    changed = _shift(benchmark, batch, "cut-out: hard edge")
    assert set(np.unique(changed.mask)) == {0, 255}
    np.testing.assert_array_equal(changed.mask >= 128, batch.mask >= 128)
    opaque = batch.mask == 255
    np.testing.assert_array_equal(changed.image[opaque], batch.image[opaque])


def test_a_feathered_edge_has_more_soft_pixels(benchmark, batch):
    changed = _shift(benchmark, batch, "cut-out: feathered edge, 1.5 px")
    soft = [((0 < values.mask) & (values.mask < 255)).sum() for values in (batch, changed)]
    assert soft[1] > 1.5 * soft[0]


def test_the_background_s_colours_move_the_cutout_s_mean_to_theirs(benchmark, batch):
    changed = _shift(benchmark, batch, "cut-out: the background's colours")
    large = [b for b in range(len(batch)) if (batch.mask[b] == 255).sum() > 100]
    assert len(large) >= 2
    for b in large:
        rows, columns = np.nonzero(batch.mask[b])
        there = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        around = benchmark.look_around(batch.background[b], there).reshape(-1, 3).mean(axis=0)
        inside = batch.mask[b] == 255
        before, after = (np.linalg.norm(values.image[b][inside].mean(axis=0) - around) for values in (batch, changed))
        assert after < 0.3 * before or after < 10


def test_noise_of_photos_has_its_strength_and_is_another_in_each(benchmark, batch):
    noisy = _shift(benchmark, batch, "photo: noise, 10 levels")
    for b in range(len(batch)):
        middle = (40 < batch.background[b]) & (batch.background[b] < 215)
        added = (noisy.background[b].astype(int) - batch.background[b])[middle]
        assert added.std() == pytest.approx(benchmark.NOISE_LEVELS, rel=0.05)
        outside = batch.mask[b] == 0
        assert (noisy.image[b][outside] != noisy.background[b][outside]).any()
