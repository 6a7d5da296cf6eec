"""The section `model`, and what is to be known of each network before it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from depthmask.params.data import DownloadParams
from depthmask.params.fields import Section


@dataclass(frozen=True)
class NetworkFacts:
    """What a network takes and gives.

    system: whose it is, A to D being the published ones; takes_background, needs_background: whether the bare background
    can be, or must be, a second input; stride: sides are multiples of it; min_size_px: the smallest side; pads: other sizes are
    padded and not refused; mask_gives: logits, or a map of 0..1; standardised: its maps are trained as (map - mean) / std;
    has_depth_levels: depth comes as classes too; has_branches: parts of it serve one task alone, see `branches` of its class.
    """

    system: str
    takes_background: bool = False
    needs_background: bool = False
    stride: int = 1
    min_size_px: int = 16
    pads: bool = False
    mask_gives: Literal["logits", "probability"] = "logits"
    standardised: bool = False
    has_depth_levels: bool = False
    has_branches: bool = False

    @property
    def is_published(self) -> bool:
        """Whether it is of one of the four published systems."""
        return self.system in ("A", "B", "C", "D")


# a line here and one in depthmask.models.NETWORKS belong together; params are read without torch, so it is not said there
NETWORK_FACTS: dict[str, NetworkFacts] = {
    "compact": NetworkFacts("depthmask", takes_background=True, stride=16, pads=True, has_branches=True),
    "dilated_small": NetworkFacts("A", stride=2, mask_gives="probability"),
    "dilated_plain": NetworkFacts("A", stride=2, mask_gives="probability"),
    "dilated_residual": NetworkFacts("A", stride=2, mask_gives="probability"),
    "dilated_depth_classes": NetworkFacts("A", stride=2, mask_gives="probability", has_depth_levels=True),
    "resnet18_shuffle": NetworkFacts("A", stride=8, mask_gives="probability"),
    "multi_dilation_unet": NetworkFacts("A", stride=8, mask_gives="probability"),
    "dense_concat": NetworkFacts(
        "B", takes_background=True, needs_background=True, stride=8, mask_gives="probability", has_branches=True
    ),
    # at 16 px its deepest maps would be one pixel, of which batch norm cannot learn from a single picture
    "branched_unet": NetworkFacts(
        "C", takes_background=True, needs_background=True, stride=16, min_size_px=32, has_branches=True
    ),
    "two_stream_separable": NetworkFacts(
        "D", takes_background=True, needs_background=True, stride=4, mask_gives="probability", standardised=True
    ),
    "smp_unet": NetworkFacts("outside", takes_background=True, stride=32, min_size_px=32, pads=True),
}


class ModelParams(Section):
    name: Literal[*NETWORK_FACTS]
    width: Annotated[int, Field(ge=4, le=256, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, le=0.9)]  # of more, hardly a channel is left
    background_input: bool

    @model_validator(mode="after")
    def _check(self):
        facts = NETWORK_FACTS[self.name]
        if facts.needs_background and not self.background_input:
            raise ValueError(f"background_input: false; {self.name} cannot do without the bare background; allowed: true")
        if self.background_input and not facts.takes_background:
            raise ValueError(f"background_input: true; {self.name} takes the picture alone; allowed: false")
        return self


def refuse_missing_background(model: ModelParams, download: DownloadParams, layout: str | None = None) -> str | None:
    """Why a source cannot give the network its second input; None if it can. layout: that of the set which `source` names."""
    if not model.background_input or download.may_have_backgrounds(layout):
        return None
    needed = NETWORK_FACTS[model.name].needs_background
    return (
        f"model.background_input: true needs the bare background, which download.source: {download.source}"
        f"{f' (of the layout {layout})' if layout else ''} does not have unless download.backgrounds names their folder;"
        f" allowed: {'another model.name, ' + model.name + ' cannot do without' if needed else 'false'}"
    )


def find_nearest_sizes(name: str, size_px: int) -> list[int]:
    """The sides nearest to a wanted one that a network takes without padding: itself, or one below and one above, rising."""
    facts = NETWORK_FACTS[name]
    if size_px < facts.min_size_px:
        return [facts.min_size_px]
    below = size_px - size_px % facts.stride
    return [size_px] if below == size_px else [below, below + facts.stride]


def fit_size(name: str, size_px: int) -> int:
    """The side that a network takes, padding where it can, that is nearest to a wanted one; the larger of two."""
    if NETWORK_FACTS[name].pads:
        return size_px
    return min(reversed(find_nearest_sizes(name, size_px)), key=lambda side_px: abs(side_px - size_px))


def refuse_size(name: str, size_px: int) -> str | None:
    """Why a network cannot take pictures with a side of this size, with the nearest that it can; None if it can."""
    facts, nearest = NETWORK_FACTS[name], find_nearest_sizes(name, size_px)
    if facts.pads or nearest == [size_px]:
        return None
    allowed = f"multiples of {facts.stride} from {facts.min_size_px} px, as {' or '.join(map(str, nearest))}"
    return f"{size_px} px do not fit model.name: {name}; allowed: {allowed}"


def refuse_single(name: str, size_px: int, batch_size: int) -> str | None:
    """Why a network cannot be trained on one picture of this size at once; None if it can.

    Where its deepest map is one pixel, batch norm would have a single value of each channel. Only networks that pad get so far:
    the others' smallest side is larger.
    """
    facts = NETWORK_FACTS[name]
    if batch_size > 1 or not facts.pads or size_px > facts.stride:
        return None
    return f"1; at {size_px} px the deepest map of model.name: {name} is one pixel; allowed: at least 2, or pictures of more px"
