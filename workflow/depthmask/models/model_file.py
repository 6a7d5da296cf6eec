"""A network with all that is needed to use it, and its file: weights in safetensors, the card in the header, no pickle.

The header also has a sha256 over card and weights, so that a file with any byte changed is refused. A file that the training
stages write says nothing of commit, time or scores: equal params give equal bytes. `depthmask export` adds these, as `release`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import get_args

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from depthmask.errors import UserError
from depthmask.files import replace_file
from depthmask.models import NETWORKS, Prediction, Standards
from depthmask.models.blocks import keep_dilated_depthwise_exact
from depthmask.params import ModelParams
from depthmask.params.data import DepthUnit
from depthmask.params.messages import describe
from depthmask.params.model import NETWORK_FACTS, refuse_size

HEADER_KEY = "depthmask"  # one key: with several, their order in the file would vary from run to run
FORMAT = 2  # 1 had no sha256
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # of torch.save's archives, and of a bare pickle
STD_MIN = 1e-3  # below it a division would only blow up noise


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself.

    settings: the `model` section; image_mean, image_std: of RGB 0..1; depth_unit, depth_max: what depth 1 stands for;
    epochs: how many epochs of samples it has seen; image_size_px: the size it was last trained at; mask_mean to depth_std: of
    the maps, 0..1, in whose standard units some networks learn; release: what `depthmask export` knows of where the weights
    come from and what they scored, plain JSON (see depthmask.serving.release); None in the files of the training stages.

    Raises:
        ValueError: a value that no model can have.
    """

    settings: dict
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    depth_unit: str
    depth_max: float
    epochs: int = 0
    image_size_px: int = 0
    mask_mean: float = 0.0
    mask_std: float = 1.0
    depth_mean: float = 0.0
    depth_std: float = 1.0
    release: dict | None = None

    def __post_init__(self):
        if not (len(self.image_mean) == len(self.image_std) == 3 and min(self.image_std) > 0):
            raise ValueError("image_mean and image_std need three values each, those of image_std above 0")
        if self.depth_unit not in get_args(DepthUnit) or not (self.depth_max > 0 and math.isfinite(self.depth_max)):
            raise ValueError(f"depth up to {self.depth_max} in unit {self.depth_unit!r}")


class DepthMaskModel(nn.Module):
    """Takes images as they are, 0..1; normalises, pads to the network's stride where it allows that, crops the result."""

    def __init__(self, card: ModelCard):
        super().__init__()
        self.card = card
        settings = ModelParams(**card.settings)
        self.name, self.facts = settings.name, NETWORK_FACTS[settings.name]
        self.background_input = settings.background_input
        self.network = NETWORKS[settings.name](settings)
        keep_dilated_depthwise_exact(self.network)
        self.register_buffer("mean", torch.tensor(card.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.image_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_B3HW: torch.Tensor, background_B3HW: torch.Tensor | None = None) -> Prediction:
        """Predict a batch; mask and depth are in 0..1 for every network, though linear ones may go beyond.

        Raises:
            ValueError: a background is missing, or given to a model that takes none.
            UserError: the network cannot take pictures of this size.
        """
        if (background_B3HW is not None) != self.background_input:
            raise ValueError("the model takes a background" if self.background_input else "the model takes no background")
        height, width = image_B3HW.shape[-2:]
        refusal = refuse_size(self.name, height) or refuse_size(self.name, width)
        if refusal is not None:
            raise UserError(f"a picture of {width} x {height} px: {refusal}")
        pad = (0, -width % self.facts.stride, 0, -height % self.facts.stride)
        inputs = [F.pad(x, pad, mode="replicate") if any(pad) else x for x in (image_B3HW, background_B3HW) if x is not None]
        return self.predict_padded(*inputs).crop(height, width)

    def predict_padded(self, *pictures_B3HW: torch.Tensor) -> Prediction:
        """The same for pictures with sides that are multiples of the network's stride, unchecked: image, background."""
        prediction = self.network(*((x - self.mean) / self.std for x in pictures_B3HW))
        if self.facts.standardised:
            card = self.card
            return prediction.undo_standards(Standards(card.mask_mean, card.mask_std, card.depth_mean, card.depth_std))
        return prediction


def make_model(settings: ModelParams, channels: dict, depth: dict) -> DepthMaskModel:
    """A new model. channels: statistics.json's; depth: the source's declaration (unit, max). Weights follow torch's seed."""
    image = channels["image"]
    std = tuple(max(s, STD_MIN) for s in image["std"])
    standards = {}
    for kind in ("mask", "depth"):
        measured = channels.get(kind) or {}
        if measured.get("mean"):  # not where no depth is known
            standards[f"{kind}_mean"], standards[f"{kind}_std"] = measured["mean"][0], max(measured["std"][0], STD_MIN)
    return DepthMaskModel(ModelCard(settings.model_dump(), tuple(image["mean"]), std, depth["unit"], depth["max"], **standards))


def save_model(model: DepthMaskModel, path: Path, **changes) -> None:
    """Write the model, whole or not at all; `changes` update its card. Equal weights and card give equal bytes."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    card = {"format": FORMAT, **asdict(replace(model.card, **changes))}
    header = {HEADER_KEY: _write_json(card | {"sha256": hash_model(card, tensors)})}
    with replace_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))  # save_file would let nobody but the owner read it


def load_model(path: Path) -> DepthMaskModel:
    """Read a model file, in eval mode.

    Raises:
        UserError: it is missing, damaged, changed, not one of ours, a pickle, or its weights do not fit its card.
    """
    card, tensors = read_model_file(path)
    try:
        model = DepthMaskModel(card)
        model.load_state_dict(tensors, strict=True)
    except ValidationError as error:  # of the settings
        raise _refuse(path, describe(error.errors()[0], ModelParams)) from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _refuse(path, error) from error
    return model.eval()


def read_model_file(path: Path) -> tuple[ModelCard, dict[str, torch.Tensor]]:
    """The card and the tensors of a model file, checked against its sha256; raises UserError as `load_model` does."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the training stages make it (make repro), or name another model file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.keys() != {HEADER_KEY}:
                raise ValueError(f"its metadata are {', '.join(metadata) or 'empty'}, not {HEADER_KEY} alone")
            header = json.loads(metadata[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if not isinstance(header, dict):
            raise ValueError("its card is no mapping")
        if header.get("format") != FORMAT:
            raise UserError(f"{path}: made by another version of depthmask; train it again")
        _require_keys(header)
        said = header.pop("sha256")
        if said != hash_model(header, tensors):
            raise ValueError("its content is not what was written: the sha256 differs")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in header.items() if name != "format"}
        return ModelCard(**values), tensors
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, RuntimeError) as error:
        raise _refuse(path, error) from error


def hash_model(card: Mapping, tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 over the card as JSON, then name, type, shape and bytes of each tensor in the order of names, in hex."""
    digest = hashlib.sha256(_write_json(card).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_keys(header: dict) -> None:
    wanted = {field.name for field in fields(ModelCard)} | {"format", "sha256"}
    for word, names in (("lacks", wanted - header.keys()), ("has an unknown", header.keys() - wanted)):
        if names:
            raise ValueError(f"its card {word} {', '.join(sorted(names))}")


def _write_json(value: Mapping) -> str:
    return json.dumps(value, sort_keys=True)


def _refuse(path: Path, error: Exception | str) -> UserError:
    with path.open("rb") as data:
        if isinstance(error, SafetensorError) and data.read(4).startswith(PICKLE_STARTS):
            return UserError(
                f"{path}: a pickle (torch.save), which could run any code and is never read; train a model file here"
            )
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{path}: not a whole model file of depthmask ({reason}); make it again, or copy it again")


def count_parameters(model: nn.Module) -> int:
    """Numbers that are trained, each once."""
    return sum(p.numel() for p in model.parameters())
