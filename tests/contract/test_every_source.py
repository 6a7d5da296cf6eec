"""What every source of the registry must do, whatever its layout: the same kind of sample, by way of the same calls."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from looking_at_samples import make_sample
from making_layouts import WRITERS, make_composites, pack_small, write_photos
from PIL import Image

from depthmask.download.fetch import fetch
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import PARTS
from depthmask.params import DownloadParams, load_params
from depthmask.params.mixture import strip_source
from depthmask.registry.sources import SOURCES
from depthmask.sources import choose_folder, open_source
from depthmask.split.assets import split_source, write_parts
from depthmask.split.packed import split_packed, write_packed

PROJECT = Path(__file__).parents[2]
PARAMS = load_params(PROJECT / "params.yaml")
NUM = 12
NUM_OF_READY = 6  # backgrounds, and cut-outs, of pre-composited samples


def _make_assets(folder: Path) -> dict:
    """Backgrounds of several sizes with 8-bit depth that is partly unknown; cut-outs; nothing that is optional."""
    rng = np.random.default_rng(0)
    for kind in ("bg", "bg_depth", "fg"):
        (folder / kind).mkdir(parents=True)
    for number in range(NUM):
        width, height = 40 + 3 * number, 30 + number
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(folder / f"bg/room{number:02d}.JPG")
        depth = rng.integers(1, 255, (height, width), np.uint8)
        depth[:5] = 0
        Image.fromarray(depth).save(folder / f"bg_depth/room{number:02d}.png")
        rgba = rng.integers(0, 255, (20, 10 + number, 4), np.uint8)
        rgba[2:-2, 2:-2, 3] = 255
        Image.fromarray(rgba).save(folder / f"fg/thing-{number:02d}.png")
    return {"depth": {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 255, "raw_unknown": 0}}


def _make_demo(folder: Path) -> dict:
    for kind in ("bg", "bg_depth", "fg", "fg_depth"):
        (folder / kind).mkdir(parents=True)
        for file in sorted((PROJECT / "data/demo" / kind).iterdir())[:NUM]:
            shutil.copyfile(file, folder / kind / file.name)
    shutil.copyfile(PROJECT / "data/demo/pack.json", folder / "pack.json")
    return {}


def _make_ready(layout: str, folder: Path) -> dict:
    changes, _ = WRITERS[layout](folder, make_composites(NUM_OF_READY, NUM_OF_READY, num_places=1))
    return changes


def _make_photos(folder: Path) -> dict:
    return write_photos(folder, make_composites(NUM_OF_READY, NUM_OF_READY, num_places=1))


MAKERS = {"demo": _make_demo, "assets": _make_assets, "image_mask_depth": _make_photos} | {
    layout: partial(_make_ready, layout) for layout in WRITERS
}


@pytest.fixture(scope="module", params=list(SOURCES))
def opened(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    changes = MAKERS[request.param](root / "here")
    values = strip_source(PARAMS.download).model_dump() | {"source": request.param, "path": str(root / "here")} | changes
    fetch(DownloadParams(**values), root / "raw")
    source = open_source(root / "raw")
    split = PARAMS.split.model_copy(update={"test": 0.25, "validation": 0.25})
    if source.composites:
        pack_small(root / "raw", root / "store")
        packed = open_source(root / "store")
        (root / "split").mkdir()
        write_packed(root / "split", split_packed(packed, split, seed=0), packed.identity)
    else:
        write_parts(root / "split", split_source(source, split, seed=0))
    return source, root


def test_a_source_has_assets_or_composites_and_reads_each_of_them(opened):
    source, _ = opened
    assert bool(source.composites) != bool(source.backgrounds and source.cutouts)
    assert len(list(source.check())) == len(source.backgrounds) + len(source.cutouts) + len(source.composites)
    assert all(file.is_file() for file in source.files())
    assert source.skipped == [] and source.warnings == []
    assert list(source.backgrounds) == sorted(source.backgrounds) and list(source.cutouts) == sorted(source.cutouts)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_yields_the_same_kind_of_sample(opened, part):
    source, root = opened
    samples = open_samples(
        choose_folder(root / "raw", root / "store"),
        root / "split",
        part,
        image_size_px=32,
        compose=PARAMS.compose,
        seed=1,
        num_samples=6,
        augment=PARAMS.augment if part == "train" else None,
        with_background=source.has_backgrounds,
    )
    assert len(samples) > 0
    for index in range(len(samples)):
        sample = make_sample(samples, index)
        assert sample.image.dtype == np.uint8 and sample.image.shape == (32, 32, 3)
        for values in (sample.mask, sample.depth):
            assert values.dtype == np.float32 and values.shape == (32, 32)
            assert 0 <= values.min() <= values.max() <= 1
        assert sample.valid.dtype == bool and sample.valid.shape == (32, 32) and sample.valid.any()
        assert (sample.depth[~sample.valid] == 0).all()
        assert sample.origin.key and sample.origin.background
        assert (sample.background is not None) == source.has_backgrounds


def test_unknown_depth_is_masked_and_not_taken_for_near(opened):
    source = opened[0]
    if source.scale.raw_unknown is None:
        pytest.skip("every pixel of this source is known")
    background = source.read_background(source.backgrounds[0])
    assert not background.valid[:5].any() and background.valid[5:].all()
    assert (background.depth[:5] == 0).all()
