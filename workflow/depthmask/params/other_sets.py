"""The key `evaluate.more`: other data sets, which the trained model is scored on and never sees in training."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from depthmask.base.errors import UserError
from depthmask.params.data import DepthParams, DownloadParams
from depthmask.params.fields import ScoredCount, Section
from depthmask.params.mixture import NamedSourceParams, SourceName, SourcesParams, identify_source, key_sources, strip_source

SECTION = "evaluate.more"
EVALUATE_OTHER = "evaluate_other"  # the stage that scores a set, before @ and its name


class OtherSetParams(NamedSourceParams):
    """Another data set: the keys of `download`, its groups for the intervals, and how much of it is scored.

    num_samples: None: of backgrounds and cut-outs as many composites as `evaluate.num_samples`, and more if need be, so that each
    of them is in one; of pre-composited samples all.
    """

    num_samples: ScoredCount | None = None


def _check_mapping(more: Any) -> Any:
    if not isinstance(more, dict):
        allowed = "{} for none, or a mapping from the name of each set to its keys, not a list: {NAME: {source: assets, ...}}"
        raise PydanticCustomError("sets", "{allowed}", {"allowed": allowed})
    return more


OtherSets = Annotated[dict[SourceName, OtherSetParams], BeforeValidator(_check_mapping)]


def name_other_set(name: str) -> str:
    """The key of a set in params.yaml, for a message."""
    return f"{SECTION}.{name}"


def get_other_sets(params: Section) -> dict[str, OtherSetParams]:
    """The sets by their names; none in a leaderboard's params, which have no such key."""
    return getattr(params.evaluate, "more", {})


def find_other_set(params: Section, name: str, option: str) -> OtherSetParams:
    """The declaration of a set; raises UserError, which names the command-line option, if there is none of this name."""
    sets = get_other_sets(params)
    if name not in sets:
        raise UserError(f"{option} {name}: not in {SECTION}; allowed: {', '.join(sets) or 'none, it is empty'}")
    return sets[name]


def key_other_sets(params: Section) -> dict[str, DownloadParams]:
    """The declaration of each set by its key in params.yaml."""
    return {name_other_set(name): strip_source(one) for name, one in get_other_sets(params).items()}


def key_all_sources(params: Section) -> dict[str, DownloadParams]:
    """The declarations of everything that is downloaded: what is trained on, and other sets."""
    return key_sources(params.download) | key_other_sets(params)


def find_fault_of_other_sets(download: SourcesParams, more: dict[str, OtherSetParams]) -> str | None:
    """Why a set is not another one, with its full key; None if all are."""
    sources = {"download": download} | {f"download.more_sources.{name}": one for name, one in download.more_sources.items()}
    trained_on = {identify_source(source): key for key, source in sources.items()}
    for name, one in more.items():
        where = trained_on.get(identify_source(one))
        if where is not None:
            shown = "urls" if one.urls else f"path: {one.path}"
            return (
                f"{name_other_set(name)}.{shown} is also that of {where}, which is trained on and has test scores of its own;"
                " allowed: other data"
            )
    return None


def find_fault_of_comparison(depth: DepthParams, model: DepthParams) -> str | None:
    """Why no depth of the set can be compared with the model's, from the key `polarity` on; None if it can.

    model: the declaration of the depth that the model was trained on. Metres can be compared with anything. Of two relative
    depths, one near_is_small and the other near_is_large, each has a scale and a shift that are unknown; one belongs to the depth
    and the other to its inverse, which no scale and shift turn into each other.
    """
    if depth.unit == model.unit == "relative" and depth.polarity != model.polarity:
        return (
            f"polarity: {depth.polarity}, but the model's depth is relative too, and {model.polarity}: one grows with the depth"
            " and the other with its inverse, and neither has a known scale"
        )
    return None
