"""What a phase minimises, and its validation."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from depthmask.data.batch import Batch, ByteBatch
from depthmask.losses import list_terms, weigh_losses
from depthmask.losses.maps import find_known_images
from depthmask.metrics import find_finite, measure, require_finite
from depthmask.metrics.mask import THRESHOLD
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams, PhaseParams
from depthmask.registry.losses import LOSSES, Term
from depthmask.scores import Prominence, list_scores
from depthmask.training.distributed import SINGLE_PROCESS, Processes
from depthmask.training.fabric import Fabric
from depthmask.training.freezing import list_tasks

SHAPE = "shape"  # of depth, see `LossSpec.reads`
SCORES = tuple(spec.column for spec in list_scores(at_least=Prominence.PRIMARY))


@dataclass(frozen=True)
class Objective:
    """A phase's losses: weights, the trained tasks, and the factor by which maps are enlarged before they are compared."""

    weights: LossParams
    tasks: tuple[str, ...]
    upscale: int

    def name_columns(self) -> list[str]:
        """`loss`, then its terms, as in the history's columns `train_...` and `validation_...`."""
        return ["loss", *(term.column for term in list_terms(self.weights, tasks=self.tasks))]

    @property
    def reads_image(self) -> bool:
        """Whether a loss compares a map with the image."""
        return any(LOSSES[term].reads == "image" for term in list_terms(self.weights, tasks=self.tasks))

    def compute_loss(
        self, prediction: Prediction, batch: Batch, timer: Callable[[str], AbstractContextManager] = nullcontext
    ) -> tuple[torch.Tensor, dict[Term, torch.Tensor]]:
        """The weighted sum, and its unweighted terms, each computed within `timer(term.column)`."""
        return weigh_losses(prediction, batch, self.weights, tasks=self.tasks, upscale=self.upscale, timer=timer)


def make_objective(phase: PhaseParams, shared: LossParams) -> Objective:
    """The phase's own losses, or the shared ones."""
    return Objective(phase.loss or shared, list_tasks(phase.tasks), phase.loss_upscale)


@torch.inference_mode()
def validate(
    model: torch.nn.Module,
    batches: list[ByteBatch | int],
    objective: Objective,
    fabric: Fabric,
    channels_last: bool = False,
    processes: Processes = SINGLE_PROCESS,
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Mean loss, terms and SCORES over fixed samples, in eval mode and the training's precision; each sample counts once.

    A term is the mean over the batches weighted by how many samples have its task's truth; NaN if none has, as is the loss if
    none has the truth of any trained task. Mask scores are NaN if no mask has foreground. batches: from `load_fixed`; for
    those of other processes only their size. before_batch: called in all processes alike; it may raise to stop here.
    Synchronises with the device only at the end.

    Raises:
        NotFiniteError: a prediction is not finite.
    """
    model.eval()
    sizes = [batch if isinstance(batch, int) else len(batch) for batch in batches]
    device = choose_device_of_sums(fabric)
    losses = torch.zeros(len(objective.name_columns()), len(batches), dtype=torch.float64, device=device)
    known = torch.zeros_like(losses)  # samples of a batch that a loss counts
    scores = torch.zeros(len(SCORES), sum(sizes), dtype=torch.float64, device=device)
    foreground = torch.zeros(len(batches), dtype=torch.float64, device=device)  # pixels of a batch's known masks
    finite = torch.ones(2, dtype=torch.bool, device=device)
    for number, batch in enumerate(batches):
        before_batch()
        if isinstance(batch, int):
            continue
        batch = batch.to(fabric.device, channels_last)
        with fabric.autocast():
            prediction = model(batch.image_B3HW, batch.background_B3HW)
        loss, terms = objective.compute_loss(prediction, batch)
        of_task = count_known(batch)
        learnt = sum(of_task[SHAPE if task == "depth" else task] for task in objective.tasks)
        weights = [torch.where(learnt > 0, sizes[number], 0)]
        known[:, number] = torch.stack(weights + [of_task[choose_truth(term)] for term in terms]).to(losses)
        losses[:, number] = torch.stack([loss, *terms.values()]).to(losses) * known[:, number]
        inside = (batch.mask_B1HW >= THRESHOLD).flatten(1).sum(dim=1)
        foreground[number] = (inside if batch.mask_known_B is None else inside * batch.mask_known_B).sum()
        maps = prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW
        finite &= find_finite(*maps).to(finite)
        measured = measure(*maps, batch, depth_max=1.0, thorough=False, is_finite=True)
        start = sum(sizes[:number])
        for row, name in enumerate(SCORES):
            scores[row, start : start + sizes[number]] = measured[name]
    require_finite(finite)
    for table in (losses, known, scores, foreground):
        processes.all_reduce_sum(table)  # zero where another process has measured
    if not foreground.any():  # as in the test set, see `evaluation.not_scored`
        scores[[name.startswith("mask_") for name in SCORES]] = math.nan
    means = losses.cpu().sum(dim=1) / known.cpu().sum(dim=1)
    return dict(zip((*objective.name_columns(), *SCORES), (*means.tolist(), *scores.cpu().nanmean(dim=1).tolist())))


def count_known(batch: Batch) -> dict[str, torch.Tensor]:
    """How many samples of a batch have the truth of each task, in any pixel, as scalars on the device.

    SHAPE: depth, if only up to a scale and a shift.
    """
    masks, relative = batch.mask_known_B, batch.relative_B1HW
    depths = find_known_images(batch.valid_B1HW).sum()
    shapes = depths if relative is None else find_known_images(batch.valid_B1HW | relative).sum()
    num_masks = torch.full_like(depths, len(batch.valid_B1HW)) if masks is None else masks.sum()
    return {"mask": num_masks, "depth": depths, SHAPE: shapes}


def choose_truth(term: Term) -> str:
    """Which of `count_known` a term can learn from."""
    return SHAPE if LOSSES[term].reads == SHAPE else term.task


def choose_device_of_sums(fabric: Fabric) -> torch.device:
    """Sums are float64, which mps does not support."""
    return torch.device("cpu") if fabric.device.type == "mps" else fabric.device
