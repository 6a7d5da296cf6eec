"""A network with all that is needed to use it, and its file: weights in safetensors, the card in the header, no pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from depthmask.errors import UserError
from depthmask.files import replace_file
from depthmask.models import NETWORKS, Prediction, Standards
from depthmask.params import ModelParams
from depthmask.params.model import NETWORK_FACTS, refuse_size

HEADER_KEY = "depthmask"  # one key: with several, their order in the file would vary from run to run
FORMAT = 1
STD_MIN = 1e-3  # below it a division would only blow up noise


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself.

    settings: the `model` section; image_mean, image_std: of RGB 0..1; depth_unit, depth_max: what depth 1 stands for;
    epochs: how many epochs of samples it has seen; image_size_px: the size it was last trained at; mask_mean to depth_std: of
    the maps, 0..1, in whose standard units some networks learn.
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


class DepthMaskModel(nn.Module):
    """Takes images as they are, 0..1; normalises, pads to the network's stride where it allows that, crops the result."""

    def __init__(self, card: ModelCard):
        super().__init__()
        self.card = card
        settings = ModelParams(**card.settings)
        self.name, self.facts = settings.name, NETWORK_FACTS[settings.name]
        self.background_input = settings.background_input
        self.network = NETWORKS[settings.name](settings)
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
        stride = self.facts.stride
        pad = (0, -width % stride, 0, -height % stride)
        inputs = [self._prepare(x, pad) for x in (image_B3HW, background_B3HW) if x is not None]
        prediction = self.network(*inputs).crop(height, width)
        if self.facts.standardised:
            card = self.card
            return prediction.undo_standards(Standards(card.mask_mean, card.mask_std, card.depth_mean, card.depth_std))
        return prediction

    def _prepare(self, image: torch.Tensor, pad: tuple[int, int, int, int]) -> torch.Tensor:
        normalised = (image - self.mean) / self.std
        return F.pad(normalised, pad, mode="replicate") if any(pad) else normalised


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
    card = replace(model.card, **changes)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    header = {HEADER_KEY: json.dumps({"format": FORMAT, **asdict(card)}, sort_keys=True)}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def load_model(path: Path) -> DepthMaskModel:
    """Read a model file, in eval mode.

    Raises:
        UserError: it is missing, damaged, not one of ours, or its weights do not fit its card.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the training stage that makes it")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if header.pop("format") != FORMAT:
            raise UserError(f"{path}: made by another version of depthmask; train it again")
        lists_to_tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in header.items()}
        model = DepthMaskModel(ModelCard(**lists_to_tuples))
        model.load_state_dict(tensors, strict=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not a whole model file of depthmask ({' '.join(str(error).split())[:200]}); make it again"
        ) from error
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
