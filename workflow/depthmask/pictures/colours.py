"""Paints maps as images. Depth: yellow is near, violet far. Differences have their own colours.

Shapes: maps are H x W, images uint8 H x W x 3.
"""

from __future__ import annotations

import numpy as np

# nine points of viridis (van der Walt and Smith 2015), from its dark end to its light one; linear in between
VIRIDIS = np.array(
    [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50],
     [253, 231, 37]]
)  # fmt: skip
UNKNOWN = (128, 128, 128)
MISSED, FALSE, RIGHT, NOTHING = (38, 132, 255), (255, 106, 61), (235, 235, 235), (24, 24, 27)
TOO_NEAR, TOO_FAR, EXACT = (33, 102, 214), (203, 43, 35), (245, 245, 245)
FULL_COLOUR_FACTOR = 1.5  # depth wrong by this factor or more has full colour
DEPTH_FLOOR = 0.005  # of the maximum: anything nearer looks the same

CAPTIONS = {
    "image": "photo",
    "mask": "mask, truth",
    "mask_prediction": "mask, predicted",
    "mask_difference": "mask, difference",
    "depth": "depth, truth",
    "depth_prediction": "depth, predicted",
    "depth_difference": "depth, difference",
}
LEGEND = (
    "Mask difference: grey right, blue missed, orange false. Depth: yellow near, violet far, grey unknown, one logarithmic"
    " scale for truth and prediction of an image. Depth difference: white right, blue too near, red too far, full colour"
    f" at a factor of {FULL_COLOUR_FACTOR} or more."
)


def paint_mask(mask: np.ndarray) -> np.ndarray:
    """Alpha or probability 0..1 as grey."""
    return np.repeat(np.round(np.clip(mask, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def paint_unknown(height: int, width: int) -> np.ndarray:
    """In place of a mask that is not known."""
    return np.full((height, width, 3), UNKNOWN, np.uint8)


def paint_mask_difference(mask_prob: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Both thresholded at 0.5: missed, false and right pixels."""
    predicted, true = mask_prob >= 0.5, mask >= 0.5
    picture = np.full((*mask.shape, 3), NOTHING, np.uint8)
    picture[predicted & true], picture[~predicted & true], picture[predicted & ~true] = RIGHT, MISSED, FALSE
    return picture


def find_depth_range(depth: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """The depths, both above 0, for the two ends of the colour scale: the 1st and 99th percentiles."""
    known = np.maximum(depth[valid], DEPTH_FLOOR)
    if not known.size:
        return DEPTH_FLOOR, 1.0
    near, far = np.percentile(known, [1, 99])
    return float(near), float(max(far, near * 1.1))


def paint_depth(depth: np.ndarray, depth_range: tuple[float, float], valid: np.ndarray | None = None) -> np.ndarray:
    """Depth 0..1 in colours, logarithmic within the range."""
    near, far = np.log(depth_range)
    part = np.clip((far - np.log(np.maximum(depth, DEPTH_FLOOR))) / (far - near), 0, 1) * (len(VIRIDIS) - 1)
    picture = np.stack([np.interp(part, np.arange(len(VIRIDIS)), channel) for channel in VIRIDIS.T], axis=2)
    return _grey_out(picture, valid)


def paint_depth_difference(prediction: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The ratio of prediction and truth, on a logarithmic scale."""
    ratio = np.log(np.maximum(prediction, DEPTH_FLOOR) / np.maximum(depth, DEPTH_FLOOR)) / np.log(FULL_COLOUR_FACTOR)
    amount = np.clip(np.abs(ratio), 0, 1)[..., None]
    full = np.where((ratio > 0)[..., None], np.array(TOO_FAR), np.array(TOO_NEAR))
    return _grey_out(np.array(EXACT) * (1 - amount) + full * amount, valid)


def _grey_out(picture: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    picture = np.round(picture).astype(np.uint8)
    if valid is not None:
        picture[~valid] = UNKNOWN
    return picture
