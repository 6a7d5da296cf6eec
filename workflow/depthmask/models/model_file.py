"""A network with everything needed to use it, and its file: weights in safetensors, the card in the header, no pickle.

The header also has a sha256 over card and weights, so that any changed byte is detected. Files written by the training stages
contain no commit, time or scores: equal params give equal bytes. `depthmask export` adds these as `release`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from depthmask.base.errors import UserError
from depthmask.base.files import replace_file
from depthmask.base.paths import NO_SUCH_FILE, find_fault_of_file
from depthmask.encoders.packages import read_packaged_weights
from depthmask.models import make_network
from depthmask.models.blocks import keep_dilated_depthwise_exact
from depthmask.models.file_header import HEADER_KEY, check_header, make_error, read_header_key, unseal_card, write_card
from depthmask.models.model_card import FORMAT, STD_MIN, ModelCard
from depthmask.models.prediction import NormalizationStats, Prediction
from depthmask.params import NetworkParams
from depthmask.params.model import find_fault_of_size
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS

ENCODER_PREFIX = "network.encoder."
BUFFER_BYTES_MAX = 1 << 28


class DepthMaskModel(nn.Module):
    """Takes images of 0..1; normalises, pads to the network's stride if it allows that, and crops the result."""

    def __init__(self, card: ModelCard):
        super().__init__()
        self.card = card
        settings = NetworkParams(**card.settings)
        self.name, self.spec = settings.name, NETWORKS[settings.name]
        self.background_input = settings.background_input
        self.network = make_network(settings, card.encoder_config)
        keep_dilated_depthwise_exact(self.network)
        self.register_buffer("mean", torch.tensor(card.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.image_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_B3HW: torch.Tensor, background_B3HW: torch.Tensor | None = None) -> Prediction:
        """Predict a batch; mask and depth are in 0..1 for every network, although linear outputs may go beyond.

        Raises:
            ValueError: a background is missing, or given to a model that takes none.
            UserError: the network cannot take images of this size.
        """
        if (background_B3HW is not None) != self.background_input:
            raise ValueError("the model takes a background" if self.background_input else "the model takes no background")
        height, width = image_B3HW.shape[-2:]
        refusal = find_fault_of_size(self.name, height) or find_fault_of_size(self.name, width)
        if refusal is not None:
            raise UserError(f"an image of {width} x {height} px: {refusal}")
        pad = (0, -width % self.spec.stride, 0, -height % self.spec.stride)
        inputs = [F.pad(x, pad, mode="replicate") if any(pad) else x for x in (image_B3HW, background_B3HW) if x is not None]
        return self.predict_padded(*inputs).crop(height, width)

    def predict_padded(self, *pictures_B3HW: torch.Tensor) -> Prediction:
        """The same for images with sides that are multiples of the network's stride, unchecked: image, background."""
        prediction = self.network(*((x - self.mean) / self.std for x in pictures_B3HW))
        if self.spec.standardised:
            card = self.card
            return prediction.undo_normalization(
                NormalizationStats(card.mask_mean, card.mask_std, card.depth_mean, card.depth_std)
            )
        return prediction


def make_model(settings: NetworkParams, channels: dict, depth: dict, **changes: Any) -> DepthMaskModel:
    """A new model; weights follow torch's seed.

    channels: statistics.json's; depth: the source's declaration (unit, max); changes: of its card.
    """
    image = channels["image"]
    std = tuple(max(s, STD_MIN) for s in image["std"])
    stats = {}
    for kind in ("mask", "depth"):
        measured = channels.get(kind) or {}
        if measured.get("mean"):  # not where no depth is known
            stats[f"{kind}_mean"], stats[f"{kind}_std"] = measured["mean"][0], max(measured["std"][0], STD_MIN)
    card = ModelCard(settings.model_dump(), tuple(image["mean"]), std, depth["unit"], depth["max"], **stats)
    return DepthMaskModel(replace(card, **changes))


def save_model(model: DepthMaskModel, path: Path, half: bool = False, without_encoder: bool = False, **changes) -> None:
    """Write the model, whole or not at all; `changes` update its card. Equal weights and card give equal bytes.

    half: convolutions and matrices as float16, which halves the file; norms and biases stay float32.
    without_encoder: leave out the encoder's weights, to be read from their package again.

    Raises:
        UserError: without_encoder, and the encoder's weights are not those of a package, unchanged.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    if without_encoder:
        tensors = _drop_encoder(model.card, tensors)
    if half:
        tensors = {name: t.half() if t.ndim > 1 and t.is_floating_point() else t for name, t in tensors.items()}
    card = {"format": FORMAT, **asdict(replace(model.card, **changes))}
    header = {HEADER_KEY: write_card(card | {"sha256": hash_model(card, tensors)})}
    with replace_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))  # save_file would let nobody but the owner read it


def load_model(path: Path) -> DepthMaskModel:
    """Read a model file, in eval mode. Nothing of a network is allocated before its tensors are known to fit it.

    Raises:
        UserError: it is missing, damaged, changed, not one of ours, a pickle, its card says what no model can have, or its
            weights do not fit its card or are not finite.
    """
    card, tensors = read_model_file(path)
    try:
        with torch.device("meta"):  # shapes without memory
            expected = DepthMaskModel(card)
        check_tensors(tensors, expected.state_dict())
        check_buffers(expected)
        model = DepthMaskModel(card)
        model.load_state_dict(tensors, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise make_error(path, error) from error
    return model.eval()


def read_model_file(path: Path) -> tuple[ModelCard, dict[str, torch.Tensor]]:
    """The card and the tensors of a model file, checked against its sha256; raises UserError as `load_model` does.

    Tensors stored as float16 are returned as float32, in which every network computes. An encoder that was left out is read
    from its package.
    """
    fault = find_fault_of_file(path)
    if fault == NO_SUCH_FILE:
        raise UserError(f"{path}: no such file; run make repro to train one, or choose another model file")
    if fault is not None:
        raise UserError(f"{path}: {fault}, not a model file; choose a .safetensors file of depthmask")
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            header = read_header_key(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        card = unseal_card(path, header, lambda card: hash_model(card, tensors))
        tensors = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
        return card, tensors | _read_left_out_encoder(card, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, RuntimeError) as error:
        raise make_error(path, error) from error


def _drop_encoder(card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the encoder's tensors; raises UserError unless they are those of a package."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(ENCODER_PREFIX)}
    packaged = _read_left_out_encoder(card, kept)
    if not packaged or any(not torch.equal(tensor, tensors[name]) for name, tensor in packaged.items()):
        raise UserError("the encoder's weights are not those of a package, unchanged, so they cannot be left out of the file")
    return kept


def _read_left_out_encoder(card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's tensors, from its package, if the file has none and its card names the package's file by its sha256."""
    settings = NetworkParams(**card.settings)
    spec = ENCODERS.get(settings.encoder) if NETWORKS[settings.name].has_encoder else None
    if spec is None or card.encoder is None or card.encoder.sha256 != spec.sha256:
        return {}
    if any(name.startswith(ENCODER_PREFIX) for name in tensors):
        return {}
    return {ENCODER_PREFIX + key: tensor for key, tensor in read_packaged_weights(settings.encoder).items()}


def check_tensors(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError unless these are the tensors of a network, complete, of its types and shapes, and finite.

    expected: the network's own, which may be on the meta device.
    """
    for word, names in (("lacks", expected.keys() - tensors.keys()), ("has one too many", tensors.keys() - expected.keys())):
        if names:
            raise ValueError(f"of its {len(tensors)} tensors, it {word}: {min(names)[:80]}")
    for name, wanted in expected.items():
        tensor = tensors[name]
        if (tensor.dtype, tensor.shape) != (wanted.dtype, wanted.shape):
            raise ValueError(f"tensor {name} is {_describe(tensor)}, and its network needs {_describe(wanted)}")
        # a sum shows NaN and infinity at the cost of one read; only a sum that overflowed needs a closer look
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} has values that are not finite")
        if name.endswith("running_var") and (tensor < 0).any():
            raise ValueError(f"tensor {name} has variances below 0")


def check_buffers(model: nn.Module) -> None:
    """Raises ValueError where a network has more memory beside its tensors, as tables made from its settings, than any needs."""
    num_bytes = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if num_bytes > BUFFER_BYTES_MAX:
        raise ValueError(f"its network would need {num_bytes / 1e9:.1f} GB beside its weights")


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"[:80]


def hash_model(card: Mapping, tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 over the card as JSON, then name, type, shape and bytes of each tensor in the order of names, in hex."""
    digest = hashlib.sha256(write_card(card).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def count_parameters(model: nn.Module) -> int:
    """Numbers that are trained, each once."""
    return sum(p.numel() for p in model.parameters())
