"""Trims cut-outs to their figure: foot and size refer to what is visible, not to the canvas it was saved on.

Matting and drawing tools keep the whole canvas of the photo, often with a haze of alpha up to about 20 of 255 and single specks.
Untrimmed, a figure would be placed by its canvas: too small, and floating above the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from depthmask.base.errors import UserError

VISIBLE = 32  # of 255: less is matting residue, which does not decide where the figure ends
SOFT = 8  # of 255: hair and blur down to this alpha are kept, if they are near what is visible
SOFT_REACH = 0.02  # of the figure's longer side: how near
SPECK, FAINT_SPECK = 0.002, 0.02  # of the largest part's area: smaller parts are dust; the second, without a solid pixel
MARGIN_PX = 1  # transparent pixels kept around the figure, so that its edge is as soft after resizing as inside the canvas
OPAQUE = 250  # of 255
SOLID = 128  # of 255, as for masks: foreground
SOLID_PX_MIN = 16  # fewer foreground pixels are no figure
SIDE_WARNED_PX = 16  # the figure's longer side: smaller ones are mostly enlarged
HALOED = 0.75  # of the figure's height or width: what is solid reaches less far
RECTANGLE = 0.995  # of the box: filled by more than this, a cut-out has no outline


class Box(NamedTuple):
    """Part of a canvas, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def part(self) -> tuple[slice, slice]:
        return np.s_[self.top : self.bottom, self.left : self.right]

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclass(frozen=True)
class Trimmed:
    """A cut-out without the empty rest of its canvas.

    rgba: uint8 H x W x 4. canvas: the whole of it, height and width. figure: the box of what is visible, in pixels of the
    canvas. is_rectangle: it fills its box, so that nothing was cut out. is_hollow: the canvas is opaque all around and
    transparent inside, as if alpha were inverted. peak: the largest alpha, of 255. is_haloed: much of the figure's height or
    width is only a halo or a shadow, with alpha below SOLID.
    """

    rgba: np.ndarray
    box: Box
    canvas: tuple[int, int]
    figure: Box
    is_rectangle: bool
    is_hollow: bool
    peak: int
    is_haloed: bool


def trim_cutout(rgba: np.ndarray, path: Path) -> Trimmed:
    """Trim a cut-out (uint8 H x W x 4) to its figure and a margin; path: its file, for the error.

    Raises:
        UserError: there is hardly anything in it, or it is opaque everywhere.
    """
    alpha = rgba[..., 3]
    num_solid = int(np.count_nonzero(alpha >= SOLID))
    if num_solid < SOLID_PX_MIN:
        raise UserError(
            f"{path}: nearly empty cut-out: alpha is {SOLID} of 255 or above in only {num_solid} px, at least {SOLID_PX_MIN} are"
            " needed; remove it, or cut it out again"
        )
    if int(alpha.min()) >= OPAQUE:
        raise UserError(f"{path}: cut-out is opaque everywhere and has no outline; remove its background or the file")
    figure = find_figure(alpha)
    box = _add_margin(alpha, figure)
    filled = np.count_nonzero(alpha[figure.part] >= OPAQUE) / (figure.width * figure.height)
    is_hollow, is_haloed = _is_hollow(alpha), _is_haloed(alpha, figure)
    return Trimmed(rgba[box.part], box, alpha.shape, figure, filled > RECTANGLE, is_hollow, int(alpha.max()), is_haloed)


def grow(box: Box, by_px: int, canvas: tuple[int, ...]) -> Box:
    """A box with a margin, within the canvas; canvas: its height and width."""
    left, top = max(0, box.left - by_px), max(0, box.top - by_px)
    return Box(left, top, min(canvas[1], box.right + by_px), min(canvas[0], box.bottom + by_px))


def find_box(alpha: np.ndarray, lowest: int = SOLID) -> Box | None:
    """The box around the pixels with at least that alpha; None if there is none."""
    inside = alpha >= lowest
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def find_figure(alpha: np.ndarray) -> Box:
    """The box of everything visible except specks; alpha: uint8 H x W with at least one solid pixel."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha >= VISIBLE).astype(np.uint8), connectivity=8)
    has_solid = np.zeros(len(stats), bool)
    has_solid[labels[alpha >= SOLID]] = True
    parts, areas = stats[1:], stats[1:, cv2.CC_STAT_AREA]  # the first is the background
    parts = parts[areas >= np.where(has_solid[1:], SPECK, FAINT_SPECK) * areas.max()]
    left, top = parts[:, cv2.CC_STAT_LEFT], parts[:, cv2.CC_STAT_TOP]
    bottom, right = top + parts[:, cv2.CC_STAT_HEIGHT], left + parts[:, cv2.CC_STAT_WIDTH]
    return Box(int(left.min()), int(top.min()), int(right.max()), int(bottom.max()))


def _add_margin(alpha: np.ndarray, figure: Box) -> Box:
    """The figure with the soft edge that is really there, and MARGIN_PX; never beyond the canvas."""
    near = grow(figure, max(2, round(SOFT_REACH * max(figure.width, figure.height))), alpha.shape)
    edge = find_box(alpha[near.part], SOFT + 1)
    box = Box(near.left + edge.left, near.top + edge.top, near.left + edge.right, near.top + edge.bottom)
    return grow(box, MARGIN_PX, alpha.shape)


def _is_haloed(alpha: np.ndarray, figure: Box) -> bool:
    solid = find_box(alpha[figure.part])
    return solid.height < HALOED * figure.height or solid.width < HALOED * figure.width


def _is_hollow(alpha: np.ndarray) -> bool:
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return bool((border >= SOLID).mean() > 0.9 and (alpha[1:-1, 1:-1] < SOLID).any())
