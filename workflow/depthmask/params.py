"""The schema of params.yaml, and its only reader.

Every section is a frozen dataclass-like model; an unknown key, a wrong type, a value out of range or a combination
that cannot work is a `ParamsError` that names section, key, value and what is allowed, before any data is touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from depthmask.errors import ParamsError

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
SizePx = Annotated[int, Field(ge=16, le=4096)]
Weight = Annotated[float, Field(ge=0)]


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_check_pattern)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DepthParams(Section):
    unit: Literal["metre", "relative"]
    polarity: Literal["near_is_small", "near_is_large"]
    max: Positive
    raw_max: Annotated[int, Field(ge=1, le=65535)]
    raw_unknown: Annotated[int, Field(ge=0, le=65535)] | None


class DownloadParams(Section):
    source: Literal["demo", "assets", "flat_numbered"]
    path: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    depth: DepthParams
    composites_per_background: Count
    composites_per_cutout: Count | None

    @model_validator(mode="after")
    def _check(self):
        per_cutout = self.composites_per_cutout
        if per_cutout is not None and self.composites_per_background % per_cutout:
            raise ValueError(
                f"composites_per_cutout: {per_cutout} must divide composites_per_background: {self.composites_per_background}"
            )
        return self


class SplitParams(Section):
    fraction: Annotated[float, Field(gt=0, le=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    background_group: Pattern | None
    cutout_group: Pattern | None

    @model_validator(mode="after")
    def _check(self):
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation: {self.validation} + test: {self.test} leave nothing to train on; allowed: a sum under 1"
            )
        return self


class ComposeParams(Section):
    placement: Literal["floor", "uniform", "grid"]
    fit: Literal["crop", "stretch"]
    field_of_view_deg: Annotated[float, Field(gt=0, lt=180)] | None
    scale_min: Annotated[float, Field(gt=0, le=1)]
    scale_max: Annotated[float, Field(gt=0, le=1)]
    flip_background: Probability
    flip_cutout: Probability
    shadow: Probability

    @model_validator(mode="after")
    def _check(self):
        if self.field_of_view_deg is not None and self.fit != "crop":
            raise ValueError(f"field_of_view_deg: {self.field_of_view_deg} needs fit: crop, not {self.fit}; allowed: null")
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min: {self.scale_min} is above scale_max: {self.scale_max}; allowed: at most scale_max")
        return self


class ShiftScaleRotate(Section):
    transform: Literal["shift_scale_rotate"]
    probability: Probability
    shift: Annotated[float, Field(ge=0, lt=1)]
    scale: Annotated[float, Field(ge=0, lt=1)]
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
    limit: Annotated[float, Field(ge=0, lt=1)]


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
    geometric: list[Geometric]
    photometric: list[Photometric]


class ModelParams(Section):
    name: Literal["compact"]
    width: Annotated[int, Field(ge=4, le=256, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    background_input: bool


class MaskLossWeights(Section):
    bce: Weight = 0.0
    dice: Weight = 0.0


class DepthLossWeights(Section):
    l1: Weight = 0.0
    log_l1: Weight = 0.0
    ssim: Weight = 0.0
    ms_ssim: Weight = 0.0
    gradient: Weight = 0.0
    log_gradient: Weight = 0.0


class LossParams(Section):
    mask: MaskLossWeights
    depth: DepthLossWeights
    foreground: Annotated[float, Field(ge=1, le=100)]

    @model_validator(mode="after")
    def _check(self):
        if not any([*self.mask.model_dump().values(), *self.depth.model_dump().values()]):
            raise ValueError("every weight is 0, so nothing would be learnt; allowed: at least one weight above 0")
        return self


class PhaseParams(Section):
    """One training phase: what it sees, for how long, and how the weights move."""

    image_size_px: SizePx
    batch_size: Count
    samples_per_epoch: Count
    epochs: Count
    optimizer: Literal["adamw", "sgd"]
    learning_rate: Positive
    weight_decay: NotNegative
    momentum: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["constant", "one_cycle", "cosine", "step", "plateau", "triangular2"]
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)]
    milestones: list[Count]
    gamma: Annotated[float, Field(gt=0, lt=1)]
    patience_epochs: Annotated[int, Field(ge=0)]
    cycle_epochs: Count
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    early_stop_epochs: Count | None
    keep: Literal["last", "best"]
    augment: bool
    validation_samples: Count

    @model_validator(mode="after")
    def _check_phase(self):
        if self.batch_size > self.samples_per_epoch:
            raise ValueError(
                f"batch_size: {self.batch_size} is above samples_per_epoch: {self.samples_per_epoch}; allowed: at most that"
            )
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: {self.milestones} must rise; allowed: epochs in rising order, each once")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule: step needs milestones; allowed: a list of at least one epoch")
        return self


class TrainParams(PhaseParams):
    """A training stage: its own phase, then `more_phases`, each from the weights of the one before."""

    more_phases: list[dict[str, Any]]

    @model_validator(mode="after")
    def _check_more(self):
        self.phases()
        return self

    def phases(self) -> list[PhaseParams]:
        """Every phase of the stage in the order of training."""
        own = {name: getattr(self, name) for name in PhaseParams.model_fields}
        phases = [PhaseParams(**own)]
        for number, changes in enumerate(self.more_phases):
            try:
                phases.append(PhaseParams(**{**own, **changes}))
            except ValidationError as error:
                problem = _describe(error.errors()[0], PhaseParams)
                raise ValueError(f"more_phases.{number}.{problem}") from error
        return phases


class EvaluateParams(Section):
    image_size_px: SizePx
    batch_size: Count
    num_samples: Count
    baseline_samples: Count
    num_shown: Annotated[int, Field(ge=0, le=64)]
    photos: Annotated[str, Field(min_length=1)]


class ReportParams(Section):
    title: Annotated[str, Field(min_length=1, max_length=80)]
    num_worst: Annotated[int, Field(ge=0, le=64)]


class ComputeParams(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, le=256)]
    deterministic: bool
    channels_last: bool
    compile: bool


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    download: DownloadParams
    split: SplitParams
    compose: ComposeParams
    augment: AugmentParams
    model: ModelParams
    loss: LossParams
    pretrain: TrainParams
    finetune: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _check(self):
        if self.model.background_input and self.download.source == "flat_numbered":
            raise ValueError(
                "model.background_input: true needs the bare background, which download.source: flat_numbered does not have;"
                " allowed: false"
            )
        if self.loss.depth.ms_ssim:
            for stage in ("pretrain", "finetune"):
                for phase in getattr(self, stage).phases():
                    if phase.image_size_px < 33:
                        raise ValueError(
                            f"loss.depth.ms_ssim needs pictures of at least 33 px; {stage}.image_size_px: {phase.image_size_px}"
                        )
        return self


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers, as DVC reads them: 1e-3 is a number, which PyYAML's 1.1 takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not fit the schema; only the first mistake is told.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror}); run from the project's folder") from error
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: has no sections; allowed: {_list_keys(Params)}")
    return make_params(values, where=str(path))


def make_params(values: Mapping[str, Any], where: str = "params") -> Params:
    """Check a nested mapping against the schema; raises ParamsError as `load_params` does."""
    try:
        return Params(**values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ParamsError(f"{where}: {_describe(first, Params)}") from error


def _describe(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One line: the key's whole name, its value, and what is allowed there."""
    keys = [part for part in problem["loc"] if not _is_tag(part, problem["loc"])]
    key = ".".join(map(str, keys))
    allowed = f"allowed keys: {_list_keys(_section_of(model, problem['loc'][:-1]))}"
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {allowed}"
        case "missing":
            return f"{key}: missing key; {allowed}"
        case "value_error":
            message = str(problem["ctx"]["error"])
            if isinstance(problem["input"], str):
                return f"{key}: {problem['input']} {message}"
            return f"{key}.{message}" if re.match(r"[a-z0-9_.]+:", message) and key else f"{key}: {message}".lstrip(": ")
        case "union_tag_invalid":
            return f"{key}.transform: {problem['input'].get('transform')}; allowed: {problem['ctx']['expected_tags']}"
        case "union_tag_not_found":
            return f"{key}: names no transform; allowed: a mapping with the keys transform, probability and its own"
    if problem["type"] == "string_pattern_mismatch":
        return f"{key}: {problem['input']!r}; allowed: text that fits {problem['ctx']['pattern']}"
    allowed = problem["msg"].removeprefix("Input should be ").removeprefix("a ")
    return f"{key}: {_show(problem['input'])}; allowed: {allowed}"


def _show(value: Any) -> str:
    """A value as YAML would have it, with quotes where a text might be taken for a number."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _is_tag(part: Any, loc: tuple) -> bool:
    """Pydantic puts the name of the chosen union member into the location, behind the list index."""
    position = loc.index(part)
    return isinstance(part, str) and position > 0 and isinstance(loc[position - 1], int) and "augment" in loc


def _section_of(model: type[BaseModel], loc: tuple) -> type[BaseModel] | None:
    """The section or the transform that a location leads to."""
    for part in loc:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = TRANSFORMS.get(part) if field is None else field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif field is not None and part not in ("geometric", "photometric"):
            return None
    return model


def _list_keys(model: type[BaseModel] | None) -> str:
    return ", ".join(model.model_fields) if model is not None else "see params.yaml"
