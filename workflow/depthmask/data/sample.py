"""What sources provide: backgrounds, cut-outs, and the origin of each sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Origin:
    """A sample's key, and what it was made of; None if the source does not say. source: its name, where several are mixed."""

    key: str
    background: str
    cutout: str | None = None
    kind: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Camera:
    """The pinhole camera of a background, with its principal point at the image's centre."""

    focal_px: float
    height_m: float
    pitch_rad: float


@dataclass(frozen=True)
class Background:
    """A clean scene. depth and valid are as in `ByteBatch`; both None if the source has no depth."""

    key: str
    image: np.ndarray
    depth: np.ndarray | None
    valid: np.ndarray | None
    camera: Camera | None = None


@dataclass(frozen=True)
class Cutout:
    """A foreground with straight alpha.

    rgba: uint8 H x W x 4. relief: float32 H x W, depth relative to the depth of the foot, in the depth's unit; None: flat.
    units_per_px: its size at its own resolution, in the depth unit; None if unknown.
    """

    key: str
    rgba: np.ndarray
    relief: np.ndarray | None = None
    kind: str | None = None
    units_per_px: float | None = None
