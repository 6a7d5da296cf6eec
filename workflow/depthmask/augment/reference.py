"""The one file that knows albumentations: what each transform means, and the way to apply those that have no native form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise

import albumentations as A
import cv2
import numpy as np

from depthmask.augment.geometric import BORDER
from depthmask.data.batch import ByteBatch
from depthmask.params import AugmentParams

TARGETS = {"depth": "mask", "valid": "mask", "background": "image"}
EDGES = {"border_mode": BORDER, "mask_interpolation": cv2.INTER_NEAREST}

# zoom is this project's own: to albumentations, depth is a mask like any other
MAKERS = {
    "horizontal_flip": lambda p: A.HorizontalFlip(p=p.probability),
    "rotate": lambda p: A.Rotate(limit=p.limit_deg, p=p.probability, **EDGES),
    "shift_scale_rotate": lambda p: A.Affine(
        translate_percent={"x": (-p.shift, p.shift), "y": (-p.shift, p.shift)},
        scale=(1 - p.scale, 1 + p.scale),
        rotate=(-p.rotate_deg, p.rotate_deg),
        p=p.probability,
        **EDGES,
    ),
    "grid_distortion": lambda p: A.GridDistortion(num_steps=p.num_steps, distort_limit=p.limit, p=p.probability, **EDGES),
    "brightness_contrast": lambda p: A.RandomBrightnessContrast(
        brightness_limit=p.brightness, contrast_limit=p.contrast, p=p.probability
    ),
    "hue_saturation": lambda p: A.HueSaturationValue(
        hue_shift_limit=p.hue_deg / 2,  # OpenCV's hue has 180 steps
        sat_shift_limit=p.saturation,
        val_shift_limit=p.value,
        p=p.probability,
    ),
    "blur": lambda p: A.Blur(blur_limit=(3, p.kernel_max_px), p=p.probability),
    "grey": lambda p: A.ToGray(p=p.probability),
    "noise": lambda p: A.GaussNoise(std_range=(0, p.std_max), p=p.probability),
    "jpeg": lambda p: A.ImageCompression(quality_range=(p.quality_min, 100), p=p.probability),
}


def make_pipelines(params: AugmentParams) -> tuple[A.Compose, A.Compose]:
    """The two lists as albumentations would draw and apply them: on image, mask, depth, valid, background; on image."""
    geometric, photometric = ([MAKERS[t.transform](t) for t in listed] for listed in (params.geometric, params.photometric))
    return A.Compose(geometric, additional_targets=TARGETS), A.Compose(photometric)


def change_maps(maps: ByteBatch, b: int, params: Any, values: Sequence[float]) -> None:
    """A geometric transform on sample b, in place."""
    pipeline = _make_certain(params)
    pipeline.set_random_seed(_make_seed(values))
    named = {"image": maps.image[b], "mask": maps.mask[b], "depth": maps.depth[b], "valid": maps.valid[b].view(np.uint8)}
    if maps.background is not None:
        named["background"] = maps.background[b]
    moved = pipeline(**named)
    for name, pixels in named.items():
        pixels[...] = moved[name]


def change_image(image: np.ndarray, params: Any, values: Sequence[float]) -> np.ndarray:
    """A photometric transform."""
    pipeline = _make_certain(params)
    pipeline.set_random_seed(_make_seed(values))
    return pipeline(image=image)["image"]


@lru_cache(maxsize=16)
def _make_certain(params: Any) -> A.Compose:
    """The transform applied in any case: whether it is, has been drawn."""
    return A.Compose([MAKERS[params.transform](params.model_copy(update={"probability": 1.0}))], additional_targets=TARGETS)


def _make_seed(values: Sequence[float]) -> int:
    return int(values[0] * 2**31)
