"""A trained model as a function from images to maps.

Shapes: B images of H x W.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from depthmask.base.errors import NotFiniteError


class PredictedMaps(NamedTuple):
    """A model's output for a batch: foreground probability and depth, both 0..1, float32 on the CPU."""

    mask_prob_B1HW: Tensor
    depth_B1HW: Tensor


# image_B3HW and background_B3HW (None where the model takes the image alone), float32 0..1
Predict = Callable[[Tensor, Tensor | None], PredictedMaps]


def make_predict(model: torch.nn.Module, device: torch.device | str, channels_last: bool = False) -> Predict:
    """Predictions under inference mode in float32, whatever the model was trained in.

    The function raises NotFiniteError when the model's prediction is not finite.
    """
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=memory).eval()

    @torch.inference_mode()
    def predict(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
        pictures = (
            None if picture is None else picture.to(device, non_blocking=True).contiguous(memory_format=memory)
            for picture in (image_B3HW, background_B3HW)
        )
        prediction = model(*pictures)
        maps = PredictedMaps(prediction.mask_prob_B1HW.cpu(), prediction.depth_clamped_B1HW.cpu())
        if not all(torch.isfinite(values.sum()) for values in maps):  # of 0 to 1: no sum of them overflows
            raise NotFiniteError(
                "the weights give predictions that are not finite",
                hint="train again with a lower learning_rate of pretrain or finetune, or with their clip_norm set",
            )
        return maps

    return predict
