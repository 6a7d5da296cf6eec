"""The card of a model file: one schema with bounds on every field, for our own files and files from elsewhere.

A card comes with the weights, from whoever made the file. So nothing in it is used before it is validated here: no unknown key,
no control characters (a terminal would obey them), no non-finite number, no unbounded nesting. The keys are those of FORMAT; a
file of another format is rejected before its card is read.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from depthmask.params import NetworkParams
from depthmask.params.data import DepthUnit
from depthmask.params.fields import SIDE_MAX_PX, SIDE_MIN_PX
from depthmask.params.messages import describe

FORMAT = 3  # 1 had no sha256, 2 no encoder
STD_MIN = 1e-3  # below it a division would only blow up noise
DEPTH_MIN, DEPTH_MAX = 1e-6, 1e9  # float32 holds them, their squares and their sums
NESTING_MAX = 12
TEXT_MAX, CONFIG_TEXT_MAX, CARD_TEXT_MAX, ITEMS_MAX = 4096, 1 << 16, 1 << 20, 10_000
REASONS = "not_scored"  # key of texts among scores: scores.NOT_SCORED, without depending on which scores there are
FITTED_TO = "that data"  # of scores that the stage evaluate wrote where other data were the project's own
ALLOWED_CONTROLS = "\n\t"
# they reorder adjacent text, so that a line could look like another
REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check_text(text: str) -> str:
    """The text; raises ValueError where it has control characters, halves of characters, or marks that turn text around."""
    for character in text:
        if character in ALLOWED_CONTROLS or character.isprintable():
            continue
        if unicodedata.category(character) in ("Cc", "Cs") or character in REORDERING:
            raise ValueError(f"has the control character U+{ord(character):04X}")
    return text


def check_json(value: Any, depth: int = 0) -> Any:
    """A JSON value; raises ValueError where it is nested too deep, or a text or a number in it cannot be shown."""
    if depth > NESTING_MAX:
        raise ValueError(f"is nested more than {NESTING_MAX} deep")
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, int):
        if abs(value) >= 1 << 63:
            raise ValueError("has a number of more than 63 bits")
    elif isinstance(value, dict | list):
        if len(value) > ITEMS_MAX:
            raise ValueError(f"has more than {ITEMS_MAX:,} entries in one place")
        for item in value.items() if isinstance(value, dict) else value:
            check_json(list(item) if isinstance(item, tuple) else item, depth + 1)
    return value


def _check_moment(text: str) -> str:
    datetime.fromisoformat(text).astimezone()  # raises ValueError, OverflowError
    return text


def _check_size(size_px: int) -> int:
    if size_px != 0 and not SIDE_MIN_PX <= size_px <= SIDE_MAX_PX:
        raise ValueError(f"{size_px} px; allowed: {SIDE_MIN_PX} to {SIDE_MAX_PX}, or 0 where it is not known")
    return size_px


def _check_config(config: dict) -> dict:
    length = len(json.dumps(check_json(config)))
    if length > CONFIG_TEXT_MAX:
        raise ValueError(f"has {length:,} characters; allowed: {CONFIG_TEXT_MAX:,}")
    return config


def _check_settings(settings: dict) -> dict:
    try:
        NetworkParams.model_validate(settings)
    except ValidationError as error:
        raise ValueError(describe(error.errors()[0], NetworkParams)) from None
    return settings


def _check_texts(scores: dict) -> dict:
    for key, values in scores.items():
        if key != REASONS and isinstance(values, dict) and any(isinstance(value, str) for value in values.values()):
            raise ValueError(f"{key[:40]}: texts instead of numbers")
    return scores


Text = Annotated[str, Field(max_length=TEXT_MAX), AfterValidator(check_text)]
Json = Annotated[JsonValue, AfterValidator(check_json)]
Moment = Annotated[Text, AfterValidator(_check_moment)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Mean = Annotated[float, Field(ge=0, le=1)]
Std = Annotated[float, Field(ge=STD_MIN, le=1)]
Triple = tuple[float, float, float]
Score = Annotated[float, Field(ge=-1e12, le=1e12)] | None
Scores = dict[Text, Score]


class RunRecord(BaseModel):
    """How a stage was run, as recorded in a release."""

    model_config = _CONFIG

    stage: Text
    started: Moment
    seconds: Annotated[float, Field(ge=0, le=1e10)]
    commit: Text | None = None
    dirty: bool | None = None
    hardware: Json = None


ScoresFile = Annotated[
    dict[Text, Annotated[int, Field(ge=0, lt=1 << 63)] | Scores | dict[Text, Text]],
    Field(max_length=100),
    AfterValidator(_check_texts),
]
Baselines = Annotated[dict[Text, Scores], Field(max_length=1000)]


class Evaluation(BaseModel):
    """Scores on data other than what the model was trained on, as in metrics.json, and the baselines', as in baselines.json.

    fitted_to: the data that the baselines were computed from.
    """

    model_config = _CONFIG

    scores: ScoresFile
    baselines: Baselines
    fitted_to: Text = FITTED_TO


class SourceRecord(BaseModel):
    """One of several sources that a model was trained on. licence, citation: of a named set."""

    model_config = _CONFIG

    source: Text
    weight: Annotated[float, Field(gt=0)]
    licence: Text | None
    citation: Text | None
    sha256: Sha256
    scores: ScoresFile


class Release(BaseModel):
    """What `depthmask export` knew about a model: see depthmask.export.release.find_release."""

    model_config = _CONFIG

    depthmask: Text = ""
    licence: Annotated[Text, Field(min_length=1)] | None = None
    data: Annotated[dict[Text, Text], Field(max_length=ITEMS_MAX)] = {}
    params: Annotated[dict[Text, Json], Field(max_length=100)] = {}
    runs: Annotated[list[RunRecord], Field(max_length=100)] = []
    versions: Annotated[dict[Text, Text], Field(max_length=1000)] = {}
    scores: ScoresFile = {}
    flipped_scores: ScoresFile = {}  # of the mean with the mirror images' predictions
    baselines: Baselines = {}
    sources: Annotated[dict[Text, SourceRecord], Field(max_length=100)] = {}
    other_scores: Annotated[dict[Text, Evaluation], Field(max_length=100)] = {}
    model_card: Annotated[str, Field(max_length=CARD_TEXT_MAX), AfterValidator(check_text)] = ""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class EncoderCard:
    """Where an encoder's weights come from.

    weights: their name, or `file`; source: a package or address; licence: None if unknown; sha256: of the file there.
    """

    weights: Text
    source: Text
    licence: Text | None
    sha256: Sha256


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class InitCard:
    """The model file that a training started from. source: its address; licence: None if its card says none."""

    source: Text
    licence: Text | None
    sha256: Sha256


def _check_release(release: dict) -> dict:
    check_json(release)
    Release.model_validate(release)
    return release


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class ModelCard:
    """The card of a model file.

    settings: `NetworkParams`; image_mean, image_std: of RGB 0..1; depth_unit, depth_max: what depth 1 stands for; epochs: how
    many epochs of samples it has seen, those of the model that it started from included; image_size_px: the size it was last
    trained at, 0 if unknown; mask_mean to depth_std: of the maps, 0..1, in whose standard units some networks learn; encoder:
    where its encoder's weights came from, None if they were random; init: the model file that it started from, None if it
    started from none; encoder_config: what its encoder is built from if it is of another library, else None; release: what
    `depthmask export` knows of where the weights come from and what they scored, plain JSON of the shape of `Release`; None in
    the files of the training stages.

    Raises:
        ValueError: an impossible value.
    """

    settings: Annotated[dict, AfterValidator(_check_settings)]
    image_mean: tuple[Mean, Mean, Mean]
    image_std: tuple[Std, Std, Std]
    depth_unit: DepthUnit
    depth_max: Annotated[float, Field(ge=DEPTH_MIN, le=DEPTH_MAX)]
    epochs: Annotated[int, Field(ge=0, le=10**12)] = 0
    image_size_px: Annotated[int, AfterValidator(_check_size)] = 0
    mask_mean: Mean = 0.0
    mask_std: Std = 1.0
    depth_mean: Mean = 0.0
    depth_std: Std = 1.0
    encoder: EncoderCard | None = None
    init: InitCard | None = None
    encoder_config: Annotated[dict, AfterValidator(_check_config)] | None = None
    release: Annotated[dict, AfterValidator(_check_release)] | None = None


def read_card(values: dict[str, Any]) -> ModelCard:
    """The card of a file, from its JSON without `format` and `sha256`; raises ValueError that says in a line what is wrong."""
    require_keys(values)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        for name, kind in (("encoder", EncoderCard), ("init", InitCard)):
            if isinstance(given[name], dict):
                given[name] = TypeAdapter(kind).validate_json(json.dumps(given[name]))
        return ModelCard(**given)
    except ValidationError as error:
        raise ValueError(describe_fault(error)) from None


def require_keys(values: dict[str, Any]) -> None:
    """Raises ValueError where keys of a card are missing or unknown: a default would be a guess about somebody's weights."""
    wanted = {field.name for field in fields(ModelCard)}
    for word, names in (("lacks", wanted - values.keys()), ("has an unknown", values.keys() - wanted)):
        if names:
            raise ValueError(f"its card {word} {', '.join(name[:40] for name in sorted(names)[:5])}")


def describe_fault(error: ValidationError) -> str:
    """The first thing that is wrong with a card, in one short line."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part)[:40] for part in problem["loc"][:4])
    if problem["type"] == "value_error":
        return f"its card: {key}: {problem['ctx']['error']}"
    if problem["type"] == "extra_forbidden":
        return f"its card: {key}: unknown key"
    if problem["type"] == "missing":
        return f"its card: {key}: missing"
    message, value = problem["msg"].replace("Input should be", "not"), problem["input"]
    if isinstance(value, dict | list | tuple):
        return f"its card: {key}: {message}"
    return f"its card: {key}: {repr(value)[:40]} is {message}"
