"""The section `model`, and the sizes and inputs that each network accepts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from depthmask.params.data import DownloadParams
from depthmask.params.fields import Section
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS


class NetworkParams(Section):
    """What a network is built from; a model file holds it. encoder: see `registry.encoders`; only some networks have one."""

    name: Literal[*NETWORKS]
    width: Annotated[int, Field(ge=4, le=256, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, le=0.9)]  # above, hardly a channel is left
    background_input: bool
    encoder: Literal[*ENCODERS]

    @model_validator(mode="after")
    def _check(self):
        spec = NETWORKS[self.name]
        if spec.needs_background and not self.background_input:
            raise ValueError(f"background_input: false; {self.name} needs the clean background; allowed: true")
        if self.background_input and not spec.takes_background:
            raise ValueError(f"background_input: true; {self.name} takes the image only; allowed: false")
        return self


class ModelParams(NetworkParams):
    """The section `model`: the network, and what its weights start from.

    encoder_weights: imagenet, or none for random ones.
    """

    encoder_weights: Literal["imagenet", "none"]

    @property
    def network(self) -> NetworkParams:
        """What the network alone is built from."""
        return NetworkParams(**self.model_dump(include=set(NetworkParams.model_fields)))


def find_fault_of_background(model: ModelParams, download: DownloadParams, layout: str | None = None) -> str | None:
    """Why a source cannot provide the network's second input; None if it can. layout: of the named set."""
    if not model.background_input or download.may_have_backgrounds(layout):
        return None
    needed = NETWORKS[model.name].needs_background
    return (
        f"model.background_input: true needs clean backgrounds, which download.source: {download.source}"
        f"{f' (of the layout {layout})' if layout else ''} does not have unless download.backgrounds names their folder;"
        f" allowed: {'another model.name, ' + model.name + ' needs it' if needed else 'false'}"
    )


def find_nearest_sizes(name: str, size_px: int) -> list[int]:
    """The sizes nearest to size_px that a network takes without padding: size_px itself, or one below and one above."""
    spec = NETWORKS[name]
    if size_px < spec.min_size_px:
        return [spec.min_size_px]
    below = size_px - size_px % spec.stride
    return [size_px] if below == size_px else [below, below + spec.stride]


def fit_size(name: str, size_px: int) -> int:
    """The size nearest to size_px that a network takes (with padding if it pads); of two, the larger."""
    if NETWORKS[name].pads:
        return size_px
    return min(reversed(find_nearest_sizes(name, size_px)), key=lambda side_px: abs(side_px - size_px))


def find_fault_of_size(name: str, size_px: int) -> str | None:
    """Why a network cannot take images of this size, with the nearest that it can; None if it can."""
    spec, nearest = NETWORKS[name], find_nearest_sizes(name, size_px)
    if spec.pads or nearest == [size_px]:
        return None
    allowed = f"multiples of {spec.stride} from {spec.min_size_px} px, such as {' or '.join(map(str, nearest))}"
    return f"{size_px} px do not fit model.name: {name}; allowed: {allowed}"


def find_fault_of_batch(name: str, size_px: int, batch_size: int) -> str | None:
    """Why a network cannot be trained with this batch size at this image size; None if it can.

    If the deepest map is one pixel, batch norm would see a single value per channel in a batch of one. Only networks that pad
    get there: the smallest size of the others is larger.
    """
    spec = NETWORKS[name]
    if batch_size > 1 or not spec.pads or size_px > spec.deepest_stride:
        return None
    return f"1; at {size_px} px the deepest map of model.name: {name} is one pixel; allowed: at least 2, or images of more px"
