"""Fits a cut-out to its background: colours, sharpness, noise and edge, so that a paste is not told by its own look.

Cut-outs are premultiplied uint8 RGBA, h x w x 4, with a transparent margin of `Finish.margin_px` for what is blurred over their
edge; `around` is the background at their place and around it, uint8 RGB. Standard deviations are in pixels, or in levels of 255.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from depthmask.data.batch import INSIDE
from depthmask.keyed_random import REALISM, make_generator
from depthmask.params import ComposeParams

SPREAD_MAX = 2.0  # most that the spread of a colour is stretched or squeezed
BLURS_PX = (0.4, 0.6, 0.8, 1.0, 1.3, 1.6)  # tried in turn until the cut-out is no sharper than the background
FINE, COARSE = (3, 3), (7, 7)  # boxes that tell fine from coarse detail
NOISE_TILE_PX = 128
NOISE_MAX = 12.0  # levels: more is texture, taken for noise
SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
LEVELS = np.arange(256.0)

# the meaning of each column of a cut-out's draws
STRENGTH, SOFTEN, SHARPNESS, NOISE, NOISE_ROW, NOISE_COLUMN = range(6)
NUM_FINISH_DRAWS = 6


@dataclass(frozen=True)
class Finish:
    """What is done to one cut-out. harmonize: 0..1; soften_px: of its edge; noise_at: a place 0..1 in the noise tile, or None."""

    harmonize: float = 0.0
    soften_px: float = 0.0
    match_sharpness: bool = False
    noise_at: tuple[float, float] | None = None

    @property
    def margin_px(self) -> int:
        """How far the cut-out may grow: three standard deviations of the widest blurs, one after the other."""
        return math.ceil(3 * math.hypot(self.soften_px, BLURS_PX[-1] if self.match_sharpness else 0))


def draw_finishes(params: ComposeParams, draws_BN: np.ndarray) -> list[Finish]:
    """What is done to each cut-out. draws_BN: B x NUM_FINISH_DRAWS uniforms in 0..1."""
    return [
        Finish(
            harmonize=params.harmonize * row[STRENGTH],
            soften_px=params.soften_px * row[SOFTEN],
            match_sharpness=row[SHARPNESS] < params.match_sharpness,
            noise_at=(row[NOISE_ROW], row[NOISE_COLUMN]) if row[NOISE] < params.match_noise else None,
        )
        for row in draws_BN.tolist()
    ]


def fit_to_background(rgba: np.ndarray, around: np.ndarray, finish: Finish) -> np.ndarray:
    """The cut-out with its finish; noise comes last, because blurring would remove it."""
    if finish.harmonize:
        rgba = harmonize(rgba, around, finish.harmonize)
    if finish.match_sharpness:
        rgba = match_sharpness(rgba, around)
    if finish.soften_px:
        rgba = soften_edge(rgba, finish.soften_px)
    if finish.noise_at is not None:
        rgba = match_noise(rgba, around, finish.noise_at)
    return rgba


def harmonize(rgba: np.ndarray, around: np.ndarray, strength: float) -> np.ndarray:
    """Move mean and spread of each channel of CIELAB towards the background's, by a fraction 0..1 of the difference.

    After Reinhard, Ashikhmin, Gooch and Shirley, Color Transfer between Images, 2001, whose space is another perceptual one.
    """
    inside = _find_inside(rgba)
    if not inside.any():
        return rgba
    own = cv2.cvtColor(_straighten(rgba), cv2.COLOR_RGB2LAB)
    mean, spread = _measure_colours(own, inside)
    thinned = np.ascontiguousarray(around[::2, ::2])  # a quarter of the pixels has the same statistics
    wanted_mean, wanted_spread = _measure_colours(cv2.cvtColor(thinned, cv2.COLOR_RGB2LAB), None)
    stretch = np.clip(wanted_spread / np.maximum(spread, 1), 1 / SPREAD_MAX, SPREAD_MAX)
    gain = 1 + strength * (stretch - 1)
    table = (LEVELS[:, None] - mean) * gain + mean + strength * (wanted_mean - mean)
    moved = cv2.LUT(own, np.rint(table).clip(0, 255).astype(np.uint8)[None])
    return _premultiply(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), rgba[..., 3])


def match_sharpness(rgba: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Blur the cut-out until it is no sharper than the background; one that is blurred already stays as it is."""
    inside = cv2.erode(_find_inside(rgba), np.ones(COARSE, np.uint8))  # away from the edge, which is no detail
    if not inside.any():
        return rgba
    wanted, blurred = measure_sharpness(around, None), rgba
    for blur_px in BLURS_PX:
        if measure_sharpness(_straighten(blurred), inside) <= wanted:
            break
        blurred = cv2.GaussianBlur(rgba, (0, 0), blur_px)
    return blurred


def measure_sharpness(image: np.ndarray, inside: np.ndarray | None) -> float:
    """Fine detail as a fraction of coarse detail, whatever the contrast: about 1 for noise, 0 for smooth gradients."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    fine, coarse = (cv2.mean(cv2.absdiff(grey, cv2.blur(grey, box)), mask=inside)[0] for box in (FINE, COARSE))
    return fine / max(coarse, 1e-6)


def soften_edge(rgba: np.ndarray, blur_px: float) -> np.ndarray:
    """Blur the edge, and nothing that is opaque as far as the blur reaches."""
    soft = cv2.GaussianBlur(rgba, (0, 0), blur_px)
    return np.where(soft[..., 3:] < 255, soft, rgba)


def match_noise(rgba: np.ndarray, around: np.ndarray, tile_at: tuple[float, float]) -> np.ndarray:
    """Add what the cut-out lacks of the background's noise, from a fixed tile at a place 0..1."""
    inside = cv2.erode(_find_inside(rgba), np.ones(FINE, np.uint8))
    if not inside.any():
        return rgba
    own, wanted = measure_noise(_straighten(rgba), inside), min(measure_noise(around, None), NOISE_MAX)
    if own >= wanted:
        return rgba
    height, width = rgba.shape[:2]
    rows, columns = (np.arange(n) + int(at * NOISE_TILE_PX) for n, at in zip((height, width), tile_at, strict=True))
    noise = _make_noise().take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
    noisy = np.rint(_straighten(rgba) + noise * np.float32(math.sqrt(wanted**2 - own**2))).clip(0, 255)
    return _premultiply(noisy.astype(np.uint8), rgba[..., 3])


def measure_noise(image: np.ndarray, inside: np.ndarray | None) -> float:
    """The standard deviation of the noise, in levels.

    After Immerkaer, Fast Noise Variance Estimation, 1996, with the median in place of the mean, which edges cannot raise.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    difference = np.abs(cv2.filter2D(grey, cv2.CV_32F, SECOND_DIFFERENCE))
    sampled = difference[::2, ::2] if inside is None else difference[inside > 0]
    return float(np.median(sampled)) / (0.6745 * 6)  # 6: norm of the filter; 0.6745: median of a unit normal's magnitude


@lru_cache(maxsize=1)
def _make_noise() -> np.ndarray:
    """A fixed tile of normal noise of standard deviation 1, the same in all channels, as grain mostly is."""
    noise = make_generator(0, REALISM).standard_normal((NOISE_TILE_PX, NOISE_TILE_PX, 1), np.float32)
    return np.repeat(noise, 3, axis=2)


def _find_inside(rgba: np.ndarray) -> np.ndarray:
    """Foreground pixels: uint8, 1 inside."""
    return (rgba[..., 3] >= INSIDE).view(np.uint8)


def _measure_colours(pixels: np.ndarray, inside: np.ndarray | None) -> Sequence[np.ndarray]:
    """Mean and standard deviation of each channel."""
    return [values[:, 0] for values in cv2.meanStdDev(pixels, mask=inside)]


def _straighten(rgba: np.ndarray) -> np.ndarray:
    """Colours not multiplied by alpha; black where alpha is 0."""
    return cv2.divide(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), _repeat(rgba[..., 3]), scale=255)


def _premultiply(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    rgba = cv2.cvtColor(cv2.multiply(rgb, _repeat(alpha), scale=1 / 255), cv2.COLOR_RGB2RGBA)
    rgba[..., 3] = alpha
    return rgba


def _repeat(alpha: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(alpha), cv2.COLOR_GRAY2RGB)
