"""Trivial baselines: a network that does not beat them has learnt nothing.

Shapes: H x W, the size at which the test set is scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from depthmask.data.batch import ByteBatch

UNKNOWN_DEPTH = 0.5  # the prediction if the training set has no known depth at all


class Baseline(NamedTuple):
    """The same prediction for every image. family: the metrics that score it."""

    name: str
    family: str
    values_11HW: Tensor


def make_baselines(batches: Iterable[ByteBatch]) -> list[Baseline]:
    """Baselines from training samples of the test set's size (at least one):

    mask_all_foreground, mask_empty: 1 or 0 everywhere. mask_mean: mean alpha per pixel of the known masks, 0 without any.
    depth_mean: mean of all known depths. depth_row_mean: mean of the known depths in each pixel row; indoors and in streets
    the floor at the bottom is near and everything above it far, so this baseline is hard to beat.
    """
    mask_sum, row_sums, row_counts, num_masks, num_samples = 0.0, 0.0, 0.0, 0, 0
    for batch in batches:
        for b, (depth, valid) in enumerate(zip(batch.depth, batch.valid, strict=True)):
            mask_sum = mask_sum + batch.read_alpha(b).astype(np.float64)  # 0 if unknown
            num_masks += batch.knows_mask(b)
            row_sums = row_sums + np.where(valid, depth, 0).sum(axis=1, dtype=np.float64)
            row_counts = row_counts + valid.sum(axis=1)
        num_samples += len(batch)
    if not num_samples:
        raise ValueError("at least one training sample is needed")
    depth_mean = row_sums.sum() / row_counts.sum() if row_counts.sum() else UNKNOWN_DEPTH
    row_means = np.where(row_counts > 0, row_sums / np.maximum(row_counts, 1), depth_mean)
    shape = mask_sum.shape
    predictions = {
        ("mask_all_foreground", "mask"): np.ones(shape),
        ("mask_empty", "mask"): np.zeros(shape),
        ("mask_mean", "mask"): mask_sum / max(1, num_masks),
        ("depth_mean", "depth"): np.full(shape, depth_mean),
        ("depth_row_mean", "depth"): np.broadcast_to(row_means[:, None], shape),
    }
    maps = {names: torch.from_numpy(values.astype(np.float32))[None, None] for names, values in predictions.items()}
    return [Baseline(name, family, values) for (name, family), values in maps.items()]
