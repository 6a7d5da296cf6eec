"""Images of one sample of a batch, uint8 H x W x 3: ground truth and prediction."""

from __future__ import annotations

import numpy as np

from depthmask.data.batch import ByteBatch
from depthmask.pictures.colours import (
    find_depth_range,
    paint_depth,
    paint_depth_difference,
    paint_mask,
    paint_mask_difference,
    paint_unknown,
)


def paint_truth(batch: ByteBatch, b: int) -> dict[str, np.ndarray]:
    """`image`, `mask` and `depth` of sample b; `background` where the batch has it."""
    depth, valid = batch.depth[b], batch.valid[b]
    painted = paint_depth(depth, find_depth_range(depth, valid), valid)
    mask = paint_mask(batch.read_alpha(b)) if batch.knows_mask(b) else paint_unknown(*depth.shape)
    pictures = {"image": batch.image[b], "mask": mask, "depth": painted}
    return pictures | ({} if batch.background is None else {"background": batch.background[b]})


def paint_prediction(batch: ByteBatch, b: int, mask_prob: np.ndarray, depth: np.ndarray) -> dict[str, np.ndarray]:
    """The seven images of `colours.CAPTIONS`; probability and depth are H x W, 0..1."""
    known, mask, true_depth, valid = batch.knows_mask(b), batch.read_alpha(b), batch.depth[b], batch.valid[b]
    unknown = paint_unknown(*mask.shape)
    depth_range = find_depth_range(true_depth, valid)
    return {
        "image": batch.image[b],
        "mask": paint_mask(mask) if known else unknown,
        "mask_prediction": paint_mask(mask_prob),
        "mask_difference": paint_mask_difference(mask_prob, mask) if known else unknown,
        "depth": paint_depth(true_depth, depth_range, valid),
        "depth_prediction": paint_depth(depth, depth_range),
        "depth_difference": paint_depth_difference(depth, true_depth, valid),
    }
