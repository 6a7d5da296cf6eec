"""The one file that knows albumentations.

Geometric transforms move image, mask, depth, valid and background together; photometric ones change the image's colours,
and the background's with draws of their own. What is drawn follows from a seed a sample, so no worker, batch or order can
change it.
"""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets

from depthmask.keyed_random import AUGMENTATION, draw_seed
from depthmask.params import AugmentParams
from depthmask.sample import Sample

BORDER = cv2.BORDER_REFLECT_101  # the same for every map, so that they stay aligned at the edges


class Zoom(A.DualTransform):
    """Enlarge or shrink the picture about its centre, and bring everything nearer or farther by the same factor.

    To a camera whose focal length stays, a picture enlarged s times is a scene whose depths are s times smaller and whose
    widths and heights are as before. With the depth divided by s the metric scale can still be learnt, and has to be: a
    scene that is known again no longer tells its depth. What is at the maximum ("or farther") stays there.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, scale_max: float, p: float):
        super().__init__(p=p)
        self.scale_max = scale_max

    @property
    def targets(self) -> dict:
        return {**super().targets, "depth": self.apply_to_depth}

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        super().add_targets({name: kind for name, kind in additional_targets.items() if name != "depth"})

    def get_params(self) -> dict:
        return {"enlargement": self.scale_max ** self.py_random.uniform(-1, 1)}

    def apply(self, img: np.ndarray, enlargement: float, **params) -> np.ndarray:
        return _enlarge(img, enlargement, cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, enlargement: float, **params) -> np.ndarray:
        return _enlarge(mask, enlargement, cv2.INTER_NEAREST)

    def apply_to_depth(self, depth: np.ndarray, enlargement: float, **params) -> np.ndarray:
        moved = _enlarge(depth, enlargement, cv2.INTER_NEAREST)
        return np.where(moved < 1, np.minimum(moved / np.float32(enlargement), np.float32(1)), moved)


def _enlarge(pixels: np.ndarray, enlargement: float, interpolation: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, enlargement)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=interpolation, borderMode=BORDER)


MAKERS = {
    "zoom": lambda p: Zoom(scale_max=p.scale_max, p=p.probability),
    "horizontal_flip": lambda p: A.HorizontalFlip(p=p.probability),
    "rotate": lambda p: A.Rotate(limit=p.limit_deg, border_mode=BORDER, mask_interpolation=cv2.INTER_NEAREST, p=p.probability),
    "shift_scale_rotate": lambda p: A.Affine(
        translate_percent={"x": (-p.shift, p.shift), "y": (-p.shift, p.shift)},
        scale=(1 - p.scale, 1 + p.scale),
        rotate=(-p.rotate_deg, p.rotate_deg),
        border_mode=BORDER,
        mask_interpolation=cv2.INTER_NEAREST,
        p=p.probability,
    ),
    "grid_distortion": lambda p: A.GridDistortion(
        num_steps=p.num_steps, distort_limit=p.limit, border_mode=BORDER, mask_interpolation=cv2.INTER_NEAREST, p=p.probability
    ),
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


class Augmenter:
    """Applies the two lists of `AugmentParams`; `augment` is a pure function of (sample, seed, epoch, index)."""

    def __init__(self, params: AugmentParams):
        targets = {"depth": "mask", "valid": "mask", "background": "image"}
        self._geometric = _make_pipeline(params.geometric, additional_targets=targets)
        self._photometric = _make_pipeline(params.photometric)

    def augment(self, sample: Sample, seed: int, epoch: int, index: int) -> Sample:
        key = draw_seed(seed, AUGMENTATION, epoch, index)
        if self._geometric is not None:
            maps = {"image": sample.image, "mask": sample.mask, "depth": sample.depth, "valid": sample.valid.astype(np.uint8)}
            if sample.background is not None:
                maps["background"] = sample.background
            self._geometric.set_random_seed(key)
            moved = self._geometric(**maps)
            moved["valid"] = moved["valid"].astype(bool)
            sample = replace(sample, **{name: np.ascontiguousarray(moved[name]) for name in maps})
        if self._photometric is not None:
            sample = replace(sample, image=self._recolour(sample.image, key + 1))
            if sample.background is not None:
                sample = replace(sample, background=self._recolour(sample.background, key + 2))
        return sample

    def _recolour(self, image: np.ndarray, key: int) -> np.ndarray:
        self._photometric.set_random_seed(key)
        return self._photometric(image=image)["image"]


def _make_pipeline(transforms: list, **options) -> A.Compose | None:
    if not transforms:
        return None
    return A.Compose([MAKERS[t.transform](t) for t in transforms], **options)
