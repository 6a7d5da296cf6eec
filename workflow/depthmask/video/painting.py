"""Paints the frames of the side-by-side video: photo, mask, cut-out and depth in colours, two above two.

Shapes: images are uint8 H x W x 3, maps H x W.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from depthmask.pictures.colours import DEPTH_FLOOR, find_depth_range, paint_depth, paint_mask
from depthmask.serving.pictures import BEHIND_CUTOUT, CAPTIONS, SHOWN_SIDE_MAX_PX
from depthmask.serving.predictor import PhotoPrediction

COLOURS = 1024  # of the depth scale
TEXT_PX, TEXT_GAP_PX = 12, 3
CAPTION_MIN_PX = 150  # narrower images have no captions


class Painter:
    """Paints frames of one size.

    depth_range: of the colours, 0..1; it widens with the frames and never narrows, or the colours would flicker.
    """

    def __init__(self, size_px: tuple[int, int], depth_range: tuple[float, float] | None = None):
        self.size_px, self.depth_range = fit_tile(size_px), depth_range
        self._scale: np.ndarray | None = None
        self._captions = _draw_captions(self.size_px[0]) if self.size_px[0] >= CAPTION_MIN_PX else {}

    def paint(self, image: np.ndarray, prediction: PhotoPrediction) -> np.ndarray:
        """One frame, twice as wide and high as an image in it."""
        shown, mask, depth = (
            cv2.resize(values, self.size_px, interpolation=cv2.INTER_AREA)
            for values in (image, prediction.mask, prediction.depth / np.float32(prediction.depth_max))
        )
        alpha = cv2.merge([mask] * 3)
        cutout = shown * alpha + BEHIND_CUTOUT * (1 - alpha)
        tiles = {
            "image": shown,
            "mask": paint_mask(mask),
            "cutout": np.round(cutout).astype(np.uint8),
            "depth": self._paint_depth(depth),
        }
        for name, caption in self._captions.items():
            tiles[name][: caption.shape[0], : caption.shape[1]] = caption
        return np.vstack([np.hstack([tiles["image"], tiles["mask"]]), np.hstack([tiles["cutout"], tiles["depth"]])])

    def _paint_depth(self, depth: np.ndarray) -> np.ndarray:
        near, far = find_depth_range(depth, np.ones_like(depth, bool))
        before = self.depth_range or (near, far)
        wider = min(near, before[0]), max(far, before[1])
        if self._scale is None or wider != self.depth_range:
            self.depth_range = wider
            self._scale = paint_depth(np.geomspace(*wider, COLOURS)[None], wider)[0]
        near, far = np.log(wider)
        place = (np.log(np.maximum(depth, DEPTH_FLOOR)) - near) / (far - near) * (COLOURS - 1)
        return self._scale[np.clip(np.rint(place), 0, COLOURS - 1).astype(np.intp)]


def fit_tile(size_px: tuple[int, int]) -> tuple[int, int]:
    """Width and height of each image: at most SHOWN_SIDE_MAX_PX."""
    scale = min(1.0, SHOWN_SIDE_MAX_PX / max(size_px))
    return max(1, round(size_px[0] * scale)), max(1, round(size_px[1] * scale))


def _draw_captions(width: int) -> dict[str, np.ndarray]:
    font, captions = ImageFont.load_default(TEXT_PX), {}
    for name, text in CAPTIONS.items():
        room = min(width, int(font.getlength(text)) + 2 * TEXT_GAP_PX), TEXT_PX + 2 * TEXT_GAP_PX + 2
        label = Image.new("RGB", room, "black")
        ImageDraw.Draw(label).text((TEXT_GAP_PX, TEXT_GAP_PX), text, fill="white", font=font)
        captions[name] = np.asarray(label)
    return captions
