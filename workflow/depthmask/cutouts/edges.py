"""From a mask to a cut-out: a soft edge, colours without the old background, and the trimmed picture."""

from __future__ import annotations

import cv2
import numpy as np

from depthmask.data.cutouts import OPAQUE as NEARLY_OPAQUE
from depthmask.data.cutouts import SOFT as RESIDUE  # of 255: what compression or matting leaves where nothing is
from depthmask.data.cutouts import Box, find_box, grow

RIM_PX = 1  # transparent pixels around a cut-out, so that one that fills its box still has an outline
OPAQUE = 255


def is_hard(alpha: np.ndarray) -> bool:
    """Whether a mask has no soft edge, apart from residue."""
    return not ((alpha > RESIDUE) & (alpha < NEARLY_OPAQUE)).any()


def soften(inside: np.ndarray, feather_px: float) -> np.ndarray:
    """Alpha uint8 H x W of a mask: a ramp of that width across the outline, which stays where alpha is one half."""
    if feather_px <= 1:  # the centres of the pixels on both sides of the outline are one pixel apart
        return inside.astype(np.uint8) * OPAQUE
    to_outside = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_inside = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.where(inside, to_outside - 0.5, 0.5 - to_inside)
    return np.round(np.clip(distance / feather_px + 0.5, 0, 1) * OPAQUE).astype(np.uint8)


def spread_colours(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The picture with the colour of the nearest pixel inside the mask wherever it is outside: no halo of the old background."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[inside]] = image[inside]
    return np.where(inside[..., None], image, colours[nearest])


def cut(image: np.ndarray, alpha: np.ndarray, feather_px: float) -> tuple[np.ndarray, Box]:
    """The cut-out as uint8 H x W x 4, and its box in the picture, which the rim may exceed.

    alpha: of the whole picture, not empty. A hard mask gets a soft edge; a soft one stays as it is, but for residue around it.
    """
    box = grow(find_box(alpha, RESIDUE + 1), int(feather_px) + 1, alpha.shape)
    image, alpha = (array[box.part] for array in (image, alpha))
    if is_hard(alpha):
        inside = alpha > RESIDUE
        alpha = soften(inside, feather_px)
        image = spread_colours(image, inside)
        trimmed = find_box(alpha, 1)
    else:
        trimmed = find_box(alpha, RESIDUE + 1)
    rgba = np.dstack([image, alpha])[trimmed.part]
    rgba = np.pad(rgba, ((RIM_PX, RIM_PX), (RIM_PX, RIM_PX), (0, 0)))
    rgba[rgba[..., 3] == 0] = 0
    left, top = box.left + trimmed.left - RIM_PX, box.top + trimmed.top - RIM_PX
    return rgba, Box(left, top, left + rgba.shape[1], top + rgba.shape[0])


def take(array: np.ndarray, box: Box, outside: float) -> np.ndarray:
    """H x W values in a box that may exceed the picture, where they are `outside`."""
    height, width = array.shape
    part = np.full((box.height, box.width), outside, array.dtype)
    rows = slice(max(0, box.top), min(height, box.bottom))
    columns = slice(max(0, box.left), min(width, box.right))
    part[rows.start - box.top : rows.stop - box.top, columns.start - box.left : columns.stop - box.left] = array[rows, columns]
    return part
