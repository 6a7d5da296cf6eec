"""What trackers show of a network: its predictions for validation samples. Weights and random states are left unchanged.

Shapes: B images of H x W.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from depthmask.data.batch import Batch

NUM_SHOWN = 4
NAME = "validation"
ORDER = "photo, true mask, predicted mask, true depth, predicted depth (light is far)"


class Maps(torch.nn.Module):
    """The network with tensors as outputs, as tracing requires."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image_B3HW: torch.Tensor, background_B3HW: torch.Tensor | None = None):
        prediction = self.model(image_B3HW, background_B3HW)
        return prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW


def draw_predictions(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """One picture, 3 x H x W of 0..1: a row for each of the first samples, with the columns listed in ORDER."""
    with keep_model(model):
        mask, depth = (values.float().cpu() for values in Maps(model).eval()(*take_images(batch, model, NUM_SHOWN)))
    num = len(mask)
    grey = [values[:num].float().cpu().expand(-1, 3, -1, -1) for values in (batch.mask_B1HW, mask, batch.depth_B1HW, depth)]
    columns = torch.cat([batch.image_B3HW[:num].float().cpu(), *grey], dim=3)
    return torch.cat(list(columns), dim=1).clamp(0, 1)


def convert_to_bytes(picture_3HW: torch.Tensor):
    """A picture of 0..1 as a uint8 array H x W x 3, which most trackers take."""
    return (picture_3HW * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def take_images(batch: Batch, model: torch.nn.Module, number: int) -> tuple[torch.Tensor, ...]:
    """The first images of a batch, and their backgrounds if there are any, on the network's device."""
    device = next(model.parameters()).device
    images = (batch.image_B3HW, batch.background_B3HW)
    return tuple(image[:number].to(device) for image in images if image is not None)


@contextlib.contextmanager
def keep_model(model: torch.nn.Module) -> Iterator[None]:
    """Disable gradients; restore the mode of every module and the random state afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
