"""The one thing that every source yields and everything else consumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A composite with its truth; all maps have the image's height and width.

    image: uint8 H x W x 3, sRGB.
    mask: float32 H x W, the cut-out's alpha, 0..1; the binary mask is mask >= 0.5.
    depth: float32 H x W, 0..1 of the source's maximum, larger is farther, 0 where unknown.
    valid: bool H x W, where the depth is known.
    background: uint8 H x W x 3, the same view without the foreground; None where the source has none or nobody asked.
    """

    key: str
    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    background: np.ndarray | None = None
    background_key: str = ""
    cutout_key: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Maps:
    """The maps of B samples of one size, written and read in place; a mask here is a byte: alpha of 255.

    image: uint8 B x S x S x 3. mask: uint8 B x S x S. depth: float32 B x S x S, valid: bool B x S x S. background: as image,
    or None. What they mean is as in `Sample`.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    background: np.ndarray | None

    @classmethod
    def allocate(cls, num_samples: int, size_px: int, with_background: bool) -> Maps:
        """Maps whose content is not set yet."""
        shape = (num_samples, size_px, size_px)
        images = [np.empty((*shape, 3), np.uint8) for _ in range(1 + with_background)]
        image, background = images[0], images[1] if with_background else None
        return cls(image, np.empty(shape, np.uint8), np.empty(shape, np.float32), np.empty(shape, bool), background)

    def read_sample(self, b: int, key: str, background_key: str, cutout_key: str | None, kind: str | None) -> Sample:
        """Sample b, which shares memory with the maps."""
        mask = self.mask[b].astype(np.float32) / np.float32(255)
        background = None if self.background is None else self.background[b]
        return Sample(key, self.image[b], mask, self.depth[b], self.valid[b], background, background_key, cutout_key, kind)


@dataclass(frozen=True)
class Camera:
    """The pin-hole camera of a background, whose principal point is the picture's centre."""

    focal_px: float
    height_m: float
    pitch_rad: float


@dataclass(frozen=True)
class Background:
    """A bare scene. depth and valid are as in `Sample`; both None where the source has no depth."""

    key: str
    image: np.ndarray
    depth: np.ndarray | None
    valid: np.ndarray | None
    camera: Camera | None = None


@dataclass(frozen=True)
class Cutout:
    """A foreground with straight alpha.

    rgba: uint8 H x W x 4. relief: float32 H x W, depth relative to the depth of the foot, in the depth's unit; None: flat.
    height: in the depth's unit, of the whole cut-out. units_per_px: its size at its own resolution; both None if unknown.
    """

    key: str
    rgba: np.ndarray
    relief: np.ndarray | None = None
    kind: str | None = None
    units_per_px: float | None = None
