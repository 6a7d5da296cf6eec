"""The section `model`, and the sizes and inputs that each network accepts."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from depthmask.params.data import DownloadParams
from depthmask.params.fields import Section
from depthmask.params.weights_files import ALLOWED, WeightsFile, read_weights_file
from depthmask.registry.encoders import check_encoder
from depthmask.registry.networks import NETWORKS

NAMED_WEIGHTS = ("imagenet", "none")


class NetworkParams(Section):
    """What a network is built from; a model file holds it. encoder: see `registry.encoders`; only some networks have one."""

    name: Literal[*NETWORKS]
    width: Annotated[int, Field(ge=4, le=256, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, le=0.9)]  # above, hardly a channel is left
    background_input: bool
    encoder: Annotated[str, AfterValidator(check_encoder)]

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

    encoder_weights: imagenet, none for random ones, or a file. init: a model file, which then has the encoder's weights too.
    """

    encoder_weights: Annotated[str, Field(min_length=1)]
    init: Annotated[str, Field(min_length=1)] | None

    @model_validator(mode="after")
    def _check_files(self):
        if self.init is not None:
            _check_file("init", self.init, "null")
        if self.encoder_weights in NAMED_WEIGHTS:
            return self
        _check_file("encoder_weights", self.encoder_weights, " or ".join(NAMED_WEIGHTS))
        if self.init is not None:
            raise ValueError(
                f"encoder_weights: {self.encoder_weights} would be ignored, because model.init is set;"
                f" allowed: {' or '.join(NAMED_WEIGHTS)}, or init: null"
            )
        return self

    @property
    def init_file(self) -> WeightsFile | None:
        """The model file to start from."""
        return read_weights_file(self.init) if self.init is not None else None

    @property
    def encoder_file(self) -> WeightsFile | None:
        """The file of the encoder's weights; None for `NAMED_WEIGHTS`."""
        return read_weights_file(self.encoder_weights) if self.encoder_weights not in NAMED_WEIGHTS else None

    @property
    def initial_weights(self) -> str:
        """What kind of weights training starts from: random, imagenet, or file."""
        if self.init is not None:
            return "file"
        if not NETWORKS[self.name].has_encoder or self.encoder_weights == "none":
            return "random"
        return "imagenet" if self.encoder_weights == "imagenet" else "file"

    @property
    def network(self) -> NetworkParams:
        """What the network alone is built from."""
        return NetworkParams(**self.model_dump(include=set(NetworkParams.model_fields)))


def _check_file(key: str, text: str, otherwise: str) -> None:
    """Raises ValueError unless `text` names a file; a word that is none, such as a misspelt one, does not."""
    try:
        read_weights_file(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}, or {otherwise}") from None
    if re.fullmatch(r"[\w-]+", text):
        raise ValueError(f"{key}: {text}; allowed: {otherwise}, or {ALLOWED}")


def find_fault_of_background(
    model: ModelParams, download: DownloadParams, key: str = "download", layout: str | None = None
) -> str | None:
    """Why a source cannot provide the network's second input; None if it can. key: of the source. layout: of the named set."""
    if not model.background_input or download.may_have_backgrounds(layout):
        return None
    needed = NETWORKS[model.name].needs_background
    return (
        f"model.background_input: true needs clean backgrounds, which {key}.source: {download.source}"
        f"{f' (of the layout {layout})' if layout else ''} does not have unless {key}.backgrounds names their folder;"
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
