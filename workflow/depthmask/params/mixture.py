"""The section `download`: a source, and further ones that are mixed with it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from depthmask.base.errors import UserError
from depthmask.params.data import Address, DepthParams, DownloadParams, MaskParams, PseudoLabelParams
from depthmask.params.fields import Count, Pattern

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # of a folder, a stage and a key of metrics.json, in which dots would nest
WEIGHT_MIN, WEIGHT_MAX = 0.001, 1000.0  # below, a source would hardly be drawn once in an epoch

OWN_KEY = re.compile(rf"(?<![\w./-])download\.(?=(?:{'|'.join(DownloadParams.model_fields)})\b)")  # in a message


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        allowed = "names of at most 40 lower-case letters, digits and _, the first a letter"
        raise PydanticCustomError("source_name", "{allowed}", {"allowed": allowed})
    return name


SourceName = Annotated[str, AfterValidator(_check_name)]


class NamedSourceParams(DownloadParams):
    """A source beside the first one: the keys of `download`, and its own groups.

    What a source need not have is null by default, since it is not the first source's.
    """

    urls: list[Address] = Field(default_factory=list)
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    mask: MaskParams | None = None
    pseudo_labels: PseudoLabelParams | None = None
    composites_per_background: Count = 4000
    composites_per_cutout: Count | None = None
    composites_per_part: Count | None = None
    backgrounds: Annotated[str, Field(min_length=1)] | None = None
    on_bad_sample: Literal["error", "skip"] = "error"
    background_group: Pattern | None = None
    cutout_group: Pattern | None = None


class MoreSourceParams(NamedSourceParams):
    """A further source to train on. weight: its share of the training samples, relative to the section's own, which has 1."""

    weight: Annotated[float, Field(json_schema_extra={"minimum": WEIGHT_MIN, "maximum": WEIGHT_MAX})]  # checked below

    @field_validator("weight")
    @classmethod
    def _check_weight(cls, weight: float) -> float:
        if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
            allowed = f"{WEIGHT_MIN:g} to {WEIGHT_MAX:g}; to leave the source out, remove it from more_sources"
            raise PydanticCustomError("weight", "{allowed}", {"allowed": allowed})
        return weight


class SourcesParams(DownloadParams):
    """The section `download`. more_sources: by name; the section's own source is called by its `source`."""

    more_sources: dict[SourceName, MoreSourceParams]

    @field_validator("more_sources", mode="before")
    @classmethod
    def _check_mapping(cls, more: Any) -> Any:
        if not isinstance(more, dict):
            allowed = "{} for none, or a mapping from the name of each source to its keys, not a list: {NAME: {weight: 1.0, ...}}"
            raise PydanticCustomError("sources", "{allowed}", {"allowed": allowed})
        return more

    @model_validator(mode="after")
    def _check_more(self):
        seen = {identify_source(self): "download"}
        for name, more in self.more_sources.items():
            key = f"more_sources.{name}"
            if name == self.source:
                raise ValueError(f"{key}: has the name of the first source, download.source: {self.source}; rename it")
            where = identify_source(more)
            if where in seen:
                shown = "urls" if more.urls else f"path: {more.path}"
                raise ValueError(
                    f"{key}.{shown} is also that of {seen[where]}; use each source once, with a larger weight if need be"
                )
            seen[where] = key
            fault = _find_fault_of_depth(more.depth, self.depth)
            if fault:
                raise ValueError(f"{key}.depth.{fault}")
        return self


def list_sources(download: DownloadParams) -> dict[str, DownloadParams]:
    """The declaration of each source by its name, the section's own first, without what belongs to the mixture."""
    more = download.more_sources if isinstance(download, SourcesParams) else {}
    return {name: strip_source(source) for name, source in {download.source: download, **more}.items()}


def name_source(download: DownloadParams, name: str) -> str:
    """The key of a source in params.yaml, for a message: `download` for the first."""
    return "download" if name == download.source else f"download.more_sources.{name}"


def key_sources(download: DownloadParams) -> dict[str, DownloadParams]:
    """The declaration of each source by its key in params.yaml."""
    return {name_source(download, name): source for name, source in list_sources(download).items()}


def put_key(line: str, key: str) -> str:
    """A message about a source with its own keys; the code that reads a source calls them `download.depth` and so on."""
    return OWN_KEY.sub(f"{key}.", line)


@contextlib.contextmanager
def name_keys(key: str) -> Iterator[Callable[[str], str]]:
    """`put_key` for the errors raised in here, and for the lines that are passed to the result. key: of the source."""
    try:
        yield partial(put_key, key=key)
    except UserError as error:
        error.args = (put_key(error.message, key), *error.args[1:])
        error.hint = error.hint and put_key(error.hint, key)
        raise


def strip_source(source: DownloadParams) -> DownloadParams:
    """The keys that a source has whether or not it is mixed with others: what its record holds."""
    return DownloadParams(**{name: getattr(source, name) for name in DownloadParams.model_fields})


def list_weights(download: DownloadParams) -> dict[str, float]:
    """The weight of each source by its name; empty if there is only one."""
    more = download.more_sources if isinstance(download, SourcesParams) else {}
    return {download.source: 1.0} | {name: source.weight for name, source in more.items()} if more else {}


def is_on_same_scale(depth: DepthParams, first: DepthParams) -> bool:
    """Whether depths of another source can be converted to the first's: both are in metres.

    Relative depths have a scale and a shift of their own in each source.
    """
    return depth.unit == first.unit == "metre"


def identify_source(download: DownloadParams) -> tuple:
    """What is fetched, as written; `preflight.paths` compares where paths lead."""
    if download.urls:
        return tuple(sorted(download.urls))
    return (download.path.rstrip("/"), download.source if download.path.endswith(".csv") else None)


def _find_fault_of_depth(depth: DepthParams, first: DepthParams) -> str | None:
    if first.unit == "relative" and depth.unit == "metre":
        return (
            "unit: metre, but that of the first source is relative, so no metres could be learnt;"
            " allowed: relative, or metre with this source as the first (the keys of download itself)"
        )
    if first.unit == depth.unit == "relative" and depth.polarity != first.polarity:
        return (
            f"polarity: {depth.polarity}, but that of the first source is {first.polarity}; two relative depths can only be"
            f" mixed if they have the same one; allowed: {first.polarity}, or a first source in metres"
        )
    return None
