"""The sections about data: `download`, `pack`, `split` and `compose`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from depthmask.base.credentials import describe_secret
from depthmask.params.fields import BatchSize, Count, Pattern, Probability, Section, Seed, SizePx, Threads
from depthmask.registry.sources import SOURCES

LAYOUTS = tuple(SOURCES)

DepthUnit = Literal["metre", "relative"]


class DepthParams(Section):
    unit: DepthUnit
    polarity: Literal["near_is_small", "near_is_large"]
    max: Annotated[float, Field(ge=0.001, le=1e6)]  # a millimetre to a thousand kilometres, if in metres
    raw_max: Annotated[int, Field(ge=1, le=65535)] | None  # None: values are in `unit`
    raw_unknown: Annotated[int, Field(ge=0, le=65535)] | None


def _check_mask_value(value: Any) -> Any:
    """Before pydantic tries each type, whose names would be in the key of its message."""
    parts = value if isinstance(value, list) and len(value) == 3 else [value]
    if not all(type(part) is int and 0 <= part <= (255 if value is parts else 65535) for part in parts):
        raise PydanticCustomError("mask_value", "a number of 0 to 65535, or a colour as three of 0 to 255: [192, 128, 128]")
    return value


# a palette index, class number or grey value, or a colour: red, green, blue
MaskValue = Annotated[
    Annotated[int, Field(ge=0, le=65535)] | list[Annotated[int, Field(ge=0, le=255)]], BeforeValidator(_check_mask_value)
]
MaskValues = Annotated[list[MaskValue], Field(max_length=1000)]


class MaskParams(Section):
    """How to read masks that are not grey alpha; the values of `foreground` or of `background` are named, or neither's."""

    foreground: Annotated[MaskValues, Field(min_length=1)] | None = None
    background: Annotated[MaskValues, Field(min_length=1)] | None = None
    ignore: MaskValues = Field(default_factory=list)
    invert: bool = False

    @property
    def by_colour(self) -> bool:
        """Whether values are colours, not numbers."""
        return isinstance(self.list_values()[0], list)

    @property
    def by_value(self) -> bool:
        """Whether the named values decide; otherwise grey values are alpha."""
        return self.foreground is not None or self.background is not None

    def list_values(self) -> list[int | list[int]]:
        """All named values."""
        return [*(self.foreground or []), *(self.background or []), *self.ignore]

    @model_validator(mode="after")
    def _check(self):
        if self.foreground is not None and self.background is not None:
            raise ValueError("background: foreground is set too; allowed: one of them, all other values are the other")
        if self.invert and self.by_value:
            raise ValueError("invert: is for grey alpha; allowed with foreground or background: false, and list the other one")
        if not self.by_value and not self.invert and not self.ignore:
            raise ValueError("foreground: no value is named; allowed: foreground, background, ignore or invert, or mask: null")
        values = self.list_values()
        if len({isinstance(value, list) for value in values}) > 1:
            raise ValueError("foreground: numbers and colours are mixed; allowed: all of one sort, in ignore too")
        if not self.by_value and values and self.by_colour:
            raise ValueError(f"ignore: {values[0]} is a colour; allowed without foreground or background: grey values")
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise ValueError(f"ignore: {twice[0]} is named twice; allowed: each value once, in one of the lists")
        return self


class PseudoLabelParams(Section):
    """A pretrained depth network that labels a source without depth maps."""

    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=r"^[\w./-]+$")] | None
    image_size_px: SizePx
    batch_size: BatchSize
    device: Literal["auto", "cpu", "cuda", "mps"]  # its own, because the source must not depend on the device of the training
    threads: Threads


# a secret URL is named by its environment variable: DVC copies params.yaml into dvc.lock
Address = Annotated[
    str,
    Field(pattern=r"^((https?|s3)://[^\s]+|env:[A-Za-z_][A-Za-z0-9_]*(#sha256=[0-9A-Fa-f]{64})?)$"),
]


class DownloadParams(Section):
    path: Annotated[str, Field(min_length=1)]  # before `source`, whose check looks at it
    source: str
    urls: list[Address]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    depth: DepthParams
    mask: MaskParams | None
    pseudo_labels: PseudoLabelParams | None
    composites_per_background: Count
    composites_per_cutout: Count | None
    composites_per_part: Count | None
    backgrounds: Annotated[str, Field(min_length=1)] | None
    on_bad_sample: Literal["error", "skip"]

    def may_have_backgrounds(self, layout: str | None = None) -> bool:
        """Whether there can be clean backgrounds: some pre-composited layouts have none. layout: of a named set."""
        spec = SOURCES.get(layout or self.source)
        return self.backgrounds is not None or spec is None or spec.may_have_backgrounds

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: str, info: ValidationInfo) -> str:
        """Accept a layout, or a set named in the CSV file at `path`, which is looked up when it is fetched."""
        if source not in LAYOUTS and not (info.data.get("path", "").endswith(".csv") and re.fullmatch("[a-z0-9_]+", source)):
            layouts = ", ".join(map(repr, LAYOUTS))
            allowed = f"{layouts}, or, with path: data/sources.csv, a name listed there"
            raise PydanticCustomError("source", "{allowed}", {"allowed": allowed})
        return source

    @model_validator(mode="after")
    def _check(self):
        secrets = [reason for reason in map(describe_secret, (*self.urls, self.path)) if reason is not None]
        if secrets:
            raise ValueError(f"urls: {secrets[0]}")
        if "://" in self.path:
            raise ValueError(f"path: {self.path} is an address; put it into urls, with path: data/sources.csv")
        if self.urls and not self.path.endswith(".csv"):
            raise ValueError(f"path: {self.path} would be ignored, because urls is set; allowed: data/sources.csv, or urls: []")
        if self.sha256 is not None and (len(self.urls) > 1 or self.source not in LAYOUTS):
            raise ValueError("sha256: is for a single archive; for several, append it to each address: URL#sha256=...")
        if self.backgrounds is not None and (".." in Path(self.backgrounds).parts or Path(self.backgrounds).is_absolute()):
            raise ValueError(f"backgrounds: {self.backgrounds}; allowed: the name of a folder inside the source")
        per_cutout = self.composites_per_cutout
        if per_cutout is not None and self.composites_per_background % per_cutout:
            raise ValueError(
                f"composites_per_cutout: {per_cutout} must divide composites_per_background: {self.composites_per_background}"
            )
        if self.pseudo_labels is not None:
            self._check_pseudo_labels()
        return self

    def _check_pseudo_labels(self) -> None:
        """What holds for every pseudo-label model; the rest depends on the model's configuration."""
        if self.source == "demo":
            raise ValueError("pseudo_labels: the demo pack has depth maps already; allowed with source: demo: null")
        if (self.depth.raw_max, self.depth.raw_unknown) != (65535, None):
            unknown = "null" if self.depth.raw_unknown is None else self.depth.raw_unknown
            most = "null" if self.depth.raw_max is None else self.depth.raw_max
            raise ValueError(
                f"depth.raw_max: {most}, raw_unknown: {unknown}, but pseudo labels are complete and have 16"
                " bits; allowed with pseudo_labels: raw_max: 65535, raw_unknown: null"
            )
        if (self.depth.unit, self.depth.polarity) not in (("relative", "near_is_large"), ("metre", "near_is_small")):
            raise ValueError(
                f"depth: {{unit: {self.depth.unit}, polarity: {self.depth.polarity}}} is what no pseudo-label model predicts;"
                " allowed with pseudo_labels: {unit: relative, polarity: near_is_large} or {unit: metre, polarity: near_is_small}"
            )


class PackParams(Section):
    """shards: each is made by one process; each keeps three files open, of the 1000 or so that a process may have."""

    shards: Annotated[int, Field(ge=1, le=100)]


class SplitParams(Section):
    fraction: Annotated[float, Field(gt=0, le=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    background_group: Pattern | None
    cutout_group: Pattern | None
    seed: Seed | None  # None: that of everything else

    @model_validator(mode="after")
    def _check(self):
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation: {self.validation} + test: {self.test} leave nothing to train on; allowed: a sum below 1"
            )
        return self


class SeededParams(Section):
    """Params with a `seed` and a section `split`, which may have a seed of its own."""

    @property
    def split_seed(self) -> int:
        """The seed of the split, of the test images and of what they are compared with."""
        return self.seed if self.split.seed is None else self.split.seed


# what changes composites of the training part alone, and its value when off
TRAINING_ONLY_OFF = {
    "view_min": None,
    "harmonize": 0.0,
    "soften_px": 0.0,
    "match_sharpness": 0.0,
    "match_noise": 0.0,
    "clutter": 0,
}


class ComposeParams(Section):
    placement: Literal["floor", "uniform", "grid"]
    fit: Literal["crop", "stretch"]
    # below one degree, only about 10 px of a 1,000 px photo would be left
    field_of_view_deg: Annotated[float, Field(ge=1, le=170)] | None
    scale_min: Annotated[float, Field(ge=0.01, le=1)]
    scale_max: Annotated[float, Field(ge=0.01, le=1)]
    flip_background: Probability
    flip_cutout: Probability
    shadow: Probability
    view_min: Annotated[float, Field(ge=0.1, le=1)] | None
    harmonize: Probability
    soften_px: Annotated[float, Field(ge=0, le=4)]  # wider than what a lens blurs in an image of this size
    match_sharpness: Probability
    match_noise: Probability
    clutter: Annotated[int, Field(ge=0, le=8)]  # each costs as much as a foreground; more would hide the background

    @property
    def fits_cutouts(self) -> bool:
        """Whether cut-outs are changed to fit their background."""
        return any((self.harmonize, self.soften_px, self.match_sharpness, self.match_noise))

    def plain(self) -> ComposeParams:
        """For every composite that training does not see: scores stay comparable whatever a training's composites look like."""
        return self.model_copy(update=TRAINING_ONLY_OFF)

    @model_validator(mode="after")
    def _check(self):
        if self.field_of_view_deg is not None and self.fit != "crop":
            raise ValueError(f"field_of_view_deg: {self.field_of_view_deg} needs fit: crop, not {self.fit}; allowed: null")
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min: {self.scale_min} is above scale_max: {self.scale_max}; allowed: at most scale_max")
        return self
