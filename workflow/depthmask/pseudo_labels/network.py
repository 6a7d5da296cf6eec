"""The pseudo-label model on its device: images in, disparity or metres out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.catalog.model_folder import CONFIG, KEY, PREPROCESSOR, WEIGHTS, ModelFolder
from depthmask.compute.device import prepare_device
from depthmask.params import ComputeParams
from depthmask.params.data import PseudoLabelParams

# weights that some published files lack and that no image goes through: the token of masked images, and what the first
# fusion layer, into which nothing is fused yet, would do with a second input
UNUSED_WEIGHTS = re.compile(r"(.*\.)?mask_token|neck\.fusion_stage\.layers\.0\.residual_layer1\..*")


class PseudoLabelModel:
    """A pretrained depth network in float32.

    at_once: images in a forward pass. What a network gives for an image varies in the last bits with the size of the batch.
    On a GPU every batch is therefore filled up to `batch_size`; on a CPU each image is a batch of its own.

    Raises:
        UserError: the files do not make the network, or lack weights of it.
    """

    def __init__(self, model: ModelFolder, params: PseudoLabelParams):
        self.params, self.gives, self.patch_px = params, model.gives, model.patch_px
        self.device = prepare_device(
            ComputeParams(
                device=params.device,
                precision="float32",
                threads=params.threads,
                deterministic=True,
                channels_last=False,
                compile=False,
            ),
            section="download.pseudo_labels",
        )
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
        self.at_once = params.batch_size if self.device.type != "cpu" else 1
        self.processor, self.network = _load(model.path, params.model)
        self.network.to(self.device)
        self.identity = {
            "files": {name: hash_file(model.path / name) for name in _name_files(model.path)},
            "image_size_px": params.image_size_px,
            "device": self.device.type,
            **({"threads": params.threads} if self.device.type == "cpu" else {"at_once": self.at_once}),
        }

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """uint8 H x W x 3 as float32 3 x h x w, sized and normalised as the network was trained to see images.

        Raises:
            UserError: the image is too narrow for that.
        """
        size_px = self.params.image_size_px
        sizes = {"size": {"height": size_px, "width": size_px}, "ensure_multiple_of": self.patch_px}
        try:
            made = self.processor(images=image, input_data_format="channels_last", return_tensors="pt", **sizes)
        except (ValueError, ZeroDivisionError, RuntimeError) as error:
            height, width = image.shape[:2]
            raise UserError(
                f"{width} x {height} px cannot be resized to {size_px} px for the pseudo-label model ({error})"
            ) from error
        return made["pixel_values"][0]

    def predict(self, pixels: list[torch.Tensor], sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        """Disparity or metres, float32 H x W of the given sizes, for at most `at_once` images of one size."""
        filled = [*pixels, *[pixels[-1]] * (self.at_once - len(pixels))]
        output = self.forward(torch.stack(filled).to(self.device))
        output.predicted_depth = output.predicted_depth[: len(pixels)].float().cpu()
        resized = self.processor.post_process_depth_estimation(output, target_sizes=sizes)
        return [one["predicted_depth"].reshape(size).numpy() for one, size in zip(resized, sizes, strict=True)]

    def forward(self, pixels_B3HW: torch.Tensor) -> Any:
        with torch.inference_mode():
            return self.network(pixels_B3HW)


def _load(folder: Path, model: str) -> tuple[Any, torch.nn.Module]:
    """The network's own preprocessing, in NumPy and Pillow (its faster one needs torchvision), and the network."""
    import transformers  # late: an optional package, and it takes seconds

    transformers.utils.logging.set_verbosity_error()
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False, **local)
        network, loading_info = transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
        )
    except Exception as error:  # what its many readers raise on damaged files has no common class
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{KEY}.model: {model} cannot be loaded ({reason}); fetch it again, or name another") from error
    missing = [name for name in loading_info["missing_keys"] if not UNUSED_WEIGHTS.fullmatch(name)]
    if missing:
        raise UserError(
            f"{KEY}.model: {model} lacks {len(missing)} of the network's weights, as {min(missing)}; without them depth would be"
            " made up: name another"
        )
    return processor, network.eval()


def _name_files(folder: Path) -> list[str]:
    return sorted([CONFIG, PREPROCESSOR, *(file.name for file in folder.glob(WEIGHTS))])
