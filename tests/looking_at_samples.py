"""Samples of a batch, one at a time, with the mask as floats: what tests compare."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from depthmask.compose.compose import compose
from depthmask.compose.placing import Figure, Placement, Scene
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Origin
from depthmask.loading.dataset import SampleSet


class Seen(NamedTuple):
    """Shapes as in `ByteBatch`, of one sample; mask: float32 0..1."""

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    background: np.ndarray | None
    origin: Origin


def look_at(batch: ByteBatch, b: int = 0) -> Seen:
    background = None if batch.background is None else batch.background[b]
    return Seen(batch.image[b], batch.read_alpha(b), batch.depth[b], batch.valid[b], background, batch.origins[b])


def make_sample(samples: SampleSet, index: int, epoch: int = 0) -> Seen:
    return look_at(samples[[(epoch, index)]])


def compose_one(scene: Scene, figure: Figure, placement: Placement, shadow: float, with_background: bool, **more) -> Seen:
    """more: finish and clutter of `compose`."""
    size_px = scene.image.shape[0]
    batch = ByteBatch.allocate(1, size_px, size_px, with_background)
    compose(batch, 0, scene, figure, placement, shadow, **more)
    return look_at(batch)
