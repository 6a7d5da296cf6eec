"""Images, graph and params for TensorBoard. Weights and random states of a training are left unchanged.

Shapes: B images of H x W.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from depthmask.data.batch import Batch
from depthmask.training.job import Job

NUM_SHOWN = 4
ORDER = "photo, true mask, predicted mask, true depth, predicted depth (light is far)"


class _Maps(torch.nn.Module):
    """The network with tensors as outputs, as tracing requires."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image_B3HW: torch.Tensor, background_B3HW: torch.Tensor | None = None):
        prediction = self.model(image_B3HW, background_B3HW)
        return prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW


def write_params(writer: SummaryWriter, job: Job, phase: int) -> None:
    """Write the params that determine the result, as YAML: those of the phase and those that all phases share."""
    sections = {name: getattr(job, name).model_dump() for name in ("compose", "augment", "loss", "compute")}
    values = {"seed": job.seed, job.stage: job.phases[phase].model_dump(), **sections}
    text = yaml.safe_dump(values, sort_keys=False)
    writer.add_text(f"params/phase {phase + 1}", "\n".join(f"    {line}" for line in text.splitlines()))


def write_graph(writer: SummaryWriter, model: torch.nn.Module, batch: Batch) -> None:
    """Write the network's graph for one image."""
    with _without_side_effects(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the trace is valid for this image size only
        images = _take_images(batch, model, 1)
        # traced here, since add_graph would run the network twice more to check the trace
        writer.add_graph(torch.jit.trace(_Maps(model).eval(), images, check_trace=False), images)


def write_predictions(writer: SummaryWriter, model: torch.nn.Module, batch: Batch, step: int) -> None:
    """Write one picture: a row for each of the first samples, with the columns listed in ORDER."""
    with _without_side_effects(model):
        mask, depth = (values.float().cpu() for values in _Maps(model).eval()(*_take_images(batch, model, NUM_SHOWN)))
    num = len(mask)
    grey = [values[:num].float().cpu().expand(-1, 3, -1, -1) for values in (batch.mask_B1HW, mask, batch.depth_B1HW, depth)]
    columns = torch.cat([batch.image_B3HW[:num].float().cpu(), *grey], dim=3)
    writer.add_image(f"validation: {ORDER}", torch.cat(list(columns), dim=1).clamp(0, 1), step)


def _take_images(batch: Batch, model: torch.nn.Module, number: int) -> tuple[torch.Tensor, ...]:
    device = next(model.parameters()).device
    images = (batch.image_B3HW, batch.background_B3HW)
    return tuple(image[:number].to(device) for image in images if image is not None)


@contextlib.contextmanager
def _without_side_effects(model: torch.nn.Module) -> Iterator[None]:
    """Disable gradients; restore the mode of every module and the random state afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
