"""The transforms that `augment` can list, one class each."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from depthmask.params.fields import Probability, Section

TRANSFORMS_MAX = 32  # per list


class ShiftScaleRotate(Section):
    transform: Literal["shift_scale_rotate"]
    probability: Probability
    shift: Annotated[float, Field(ge=0, lt=1)]
    scale: Annotated[float, Field(ge=0, le=0.99)]  # an image shrunk to nothing has no inverse
    rotate_deg: Annotated[float, Field(ge=0, le=180)]


class HorizontalFlip(Section):
    transform: Literal["horizontal_flip"]
    probability: Probability


class Rotate(Section):
    transform: Literal["rotate"]
    probability: Probability
    limit_deg: Annotated[float, Field(ge=0, le=180)]


class Zoom(Section):
    transform: Literal["zoom"]
    probability: Probability
    scale_max: Annotated[float, Field(gt=1, le=4)]


class GridDistortion(Section):
    transform: Literal["grid_distortion"]
    probability: Probability
    num_steps: Annotated[int, Field(ge=1, le=20)]
    limit: Annotated[float, Field(ge=0, le=0.99)]


class BrightnessContrast(Section):
    transform: Literal["brightness_contrast"]
    probability: Probability
    brightness: Annotated[float, Field(ge=0, le=1)]
    contrast: Annotated[float, Field(ge=0, le=1)]


class HueSaturation(Section):
    transform: Literal["hue_saturation"]
    probability: Probability
    hue_deg: Annotated[int, Field(ge=0, le=180)]
    saturation: Annotated[int, Field(ge=0, le=255)]
    value: Annotated[int, Field(ge=0, le=255)]


class Blur(Section):
    transform: Literal["blur"]
    probability: Probability
    kernel_max_px: Annotated[int, Field(ge=3, le=31)]


class Grey(Section):
    transform: Literal["grey"]
    probability: Probability


class Noise(Section):
    transform: Literal["noise"]
    probability: Probability
    std_max: Annotated[float, Field(gt=0, le=1)]


class Jpeg(Section):
    transform: Literal["jpeg"]
    probability: Probability
    quality_min: Annotated[int, Field(ge=1, le=100)]


Geometric = Annotated[HorizontalFlip | Rotate | ShiftScaleRotate | Zoom | GridDistortion, Field(discriminator="transform")]
Photometric = Annotated[BrightnessContrast | HueSaturation | Blur | Grey | Noise | Jpeg, Field(discriminator="transform")]


TRANSFORMS = {
    cls.model_fields["transform"].annotation.__args__[0]: cls
    for group in (Geometric, Photometric)
    for cls in get_args(get_args(group)[0])
}


class AugmentParams(Section):
    geometric: Annotated[list[Geometric], Field(max_length=TRANSFORMS_MAX)]
    photometric: Annotated[list[Photometric], Field(max_length=TRANSFORMS_MAX)]

    def find_fault_of_size(self, size_px: int) -> str | None:
        """Which transform cannot be used on images of this size; None if all can."""
        for number, transform in enumerate(self.geometric):
            if isinstance(transform, GridDistortion) and transform.num_steps > size_px:
                key, steps = f"augment.geometric.{number}.num_steps", transform.num_steps
                return f"{key}: {steps} cells do not fit in {size_px} px; allowed: at most {size_px}"
        return None
