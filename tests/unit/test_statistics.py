"""Channel statistics: of what, and that composites are those that training draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from looking_at_samples import look_at, make_sample

from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import read_part
from depthmask.sources import open_source
from depthmask.split import statistics
from depthmask.split.statistics import ChannelSums, draw_composites, measure_channels


@pytest.fixture(autouse=True)
def few_composites(monkeypatch):
    monkeypatch.setattr(statistics, "NUM_COMPOSITES", 12)


def test_sums_are_weighted_and_do_not_depend_on_how_maps_are_grouped():
    values, weights = np.array([[0.0, 0.5], [1.0, 0.9]]), np.array([[1, 1], [2, 0]])
    sums = ChannelSums()
    sums.add(values, weights)
    # (0 + 0.5 + 2 x 1) / 4, and squares (0 + 0.25 + 2) / 4
    assert sums.describe() == {"mean": [0.625], "std": [pytest.approx(np.sqrt(0.5625 - 0.625**2), abs=1e-6)], "num_maps": 1}
    rows = ChannelSums()
    for row, weight in zip(values, weights, strict=True):
        rows.add(row[None], weight[None])
    assert rows.describe() == sums.describe() | {"num_maps": 2}
    assert ChannelSums().describe() == {"mean": None, "std": None, "num_maps": 0}


def test_composites_are_the_first_that_training_draws(raw, split, params):
    drawn = draw_composites(open_source(raw), read_part(split, "train"), params.compose, params.seed)
    training = open_samples(
        raw, split, "train", image_size_px=statistics.COMPOSITE_SIZE_PX, compose=params.compose, seed=params.seed, num_samples=12
    )
    for index, batch in enumerate(drawn):
        sample, expected = look_at(batch), make_sample(training, index)
        assert sample.origin == expected.origin
        for name in ("image", "mask", "depth", "valid"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(expected, name))
    assert index == 11


def test_mask_and_depth_are_those_of_composites(raw, split, params):
    source, train = open_source(raw), read_part(split, "train")
    channels = measure_channels(source, train, params.compose, params.seed)
    samples = [look_at(batch) for batch in draw_composites(source, train, params.compose, params.seed)]
    masks, depths = np.stack([s.mask for s in samples]), np.concatenate([s.depth[s.valid] for s in samples])
    for kind, values in (("mask", masks), ("depth", depths)):
        assert channels[kind]["num_maps"] == 12
        assert channels[kind]["mean"] == [pytest.approx(values.mean(dtype="float64"), abs=1e-6)]
        assert channels[kind]["std"] == [pytest.approx(values.std(dtype="float64"), abs=1e-6)]
    # the image is the clean background, the colours of cut-outs count by their alpha
    images = [source.read_background(key).image.reshape(-1, 3) / 255 for key in train.backgrounds]
    assert channels["image"]["mean"] == pytest.approx(np.concatenate(images).mean(axis=0), abs=1e-6)
    assert channels["cutout"]["num_maps"] == len(train.cutouts)
    assert measure_channels(source, train, params.compose, params.seed) == channels
    assert measure_channels(source, train, params.compose, params.seed + 1)["mask"] != channels["mask"]


def test_source_without_any_depth_has_no_mean_depth(raw, split, params):
    source = open_source(raw)

    class WithoutDepth:
        scale = source.scale
        read_cutout = staticmethod(source.read_cutout)

        @staticmethod
        def read_background(key):
            return replace(source.read_background(key), depth=None, valid=None)

    channels = measure_channels(WithoutDepth(), read_part(split, "train"), params.compose, params.seed)
    assert channels["depth"] == {"mean": None, "std": None, "num_maps": 12}
    assert channels["mask"]["mean"][0] > 0
