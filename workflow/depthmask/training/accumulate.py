"""The gradient of a whole batch, whatever part of it fits into memory and however many processes share it.

Losses are no sums over samples: means over known pixels divide by the whole batch's, and a balance looks at all of it. So
no loss is ever computed on a part. The network's outputs for all samples are put together first, the loss is computed on
them once, and its slope with respect to each output goes back through the network part by part. That holds for any loss.
A batch in several parts passes forward twice, since no part keeps what its way back needs until the loss is known.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.data.batch import Batch
from depthmask.models.model_file import DepthMaskModel
from depthmask.models.prediction import Prediction, promote_to_float32
from depthmask.training.distributed import ALONE, Processes
from depthmask.training.fabric import Fabric
from depthmask.training.objective import Objective
from depthmask.training.sharing import Share, share_layers
from depthmask.training.timing import Stopwatch

MAPS = ("mask_logits_B1HW", "depth_B1HW", "mask_B1HW", "depth_bins_BKHW")
WHOLE, ASKED, HALVED = "whole batch", "DEPTHMASK_MICRO_BATCH", "out of memory with more"


class WholeBatch:
    """Computes a phase's gradients. fabric_model: what Fabric has made of `model`; micro_batch: most samples at once, None: all.

    record: of how the phase is computed, JSON; `micro_batch` and `micro_batch_because` are kept up to date in it.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        fabric_model: torch.nn.Module,
        objective: Objective,
        fabric: Fabric,
        processes: Processes,
        stopwatch: Stopwatch,
        batch_size: int,
        micro_batch: int | None,
        record: dict[str, Any],
        tell: Callable[[str], None],
    ):
        if batch_size < processes.count:
            raise UserError(f"batch_size: {batch_size} is under the {processes.count} processes; use fewer, or a larger batch")
        self.model, self.fabric_model, self.objective, self.fabric = model, fabric_model, objective, fabric
        self.processes, self.stopwatch, self.batch_size, self.tell = processes, stopwatch, batch_size, tell
        self.share = Share(processes)
        self.share.batch_size, self.own = batch_size, processes.cut(batch_size)
        self.record, self._is_shared = record, False
        self._buffers = list(model.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]
        limits = {WHOLE: self._largest, ASKED: micro_batch or self._largest}
        if record.get("micro_batch_because") == HALVED:
            limits[HALVED] = record["micro_batch"]  # a run that goes on need not try again
        because = min(limits, key=limits.__getitem__)
        self._set_parts(-(-self._largest // limits[because]), because)

    @property
    def _largest(self) -> int:
        """Samples of the process that has most."""
        return -(-self.batch_size // self.processes.count)

    def _set_parts(self, num_parts: int, because: str) -> None:
        smallest = self.batch_size // self.processes.count
        self.num_parts = min(num_parts, smallest)
        if not self._is_shared and (self.num_parts > 1 or self.processes.count > 1):
            share_layers(self.model, self.share)
            self._is_shared = True
        self.record |= {
            "micro_batch": -(-self._largest // self.num_parts),
            "micro_batch_because": because if self.num_parts > 1 else WHOLE,
        }

    def compute(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Put the whole batch's gradient into the parameters; the value is the whole batch's loss, and its terms.

        batch: this process's samples. seed: of the draws of layers that draw. Out of memory, it goes on with half as many
        samples at once, and stays with that; nothing but the time shows in the result, batch norms apart.

        Raises:
            UserError: one sample at once is still too much, or several processes would have to agree on less.
        """
        while True:
            if self._buffers:
                torch._foreach_copy_(self._kept, self._buffers)
            self.model.zero_grad(set_to_none=True)
            try:
                if self.num_parts == 1 and self.processes.count == 1:
                    return self._compute_at_once(batch, seed)
                return self._compute_by_parts(batch, seed)
            except torch.OutOfMemoryError:
                pass  # the error's traceback holds the memory of the attempt, so all else is done after it
            self._halve()

    def _compute_at_once(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        measure = self.stopwatch.measure
        self.share.part, self.share.number, self.share.num_parts = slice(0, self.batch_size), 0, 1
        torch.manual_seed(seed)
        with measure("forward"):
            prediction = self.fabric_model(batch.image_B3HW, batch.background_B3HW)
        loss, terms = self.objective.weigh(prediction, batch, timer=lambda name: measure(f"loss_{name}"))
        with measure("backward"):
            self.fabric.backward(loss)
        return loss.detach(), terms

    def _compute_by_parts(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        measure, is_single = self.stopwatch.measure, self.num_parts == 1
        with measure("forward"):
            with torch.set_grad_enabled(is_single):
                outputs = [self._predict(batch, number, seed) for number in range(self.num_parts)]
            if not is_single:
                self._restore_buffers()  # running statistics take in the second pass alone
            maps = {name: self._gather(outputs, name) for name in MAPS if getattr(outputs[0], name) is not None}
        truth = self._gather_truth(batch)
        loss, terms = self.objective.weigh(outputs[0]._replace(**maps), truth, timer=lambda name: measure(f"loss_{name}"))
        with measure("backward"):
            slopes = dict(zip(maps, torch.autograd.grad(loss, list(maps.values()), allow_unused=True)))
            for number in range(self.num_parts):
                prediction = outputs[0] if is_single else self._predict(batch, number, seed)
                part = self._find_part(number)
                pairs = [(getattr(prediction, name), slope[part]) for name, slope in slopes.items() if slope is not None]
                # a sum whose slope with respect to each output is the loss's
                self.fabric.backward(sum((promote_to_float32(output) * slope).sum() for output, slope in pairs))
            self.processes.sum_gradients(self.model.parameters())
        return loss.detach(), {name: value.detach() for name, value in terms.items()}

    def _find_part(self, number: int) -> slice:
        """A part's samples, by their index in the whole batch."""
        size = self.own.stop - self.own.start
        return slice(self.own.start + size * number // self.num_parts, self.own.start + size * (number + 1) // self.num_parts)

    def _predict(self, batch: Batch, number: int, seed: int) -> Prediction:
        share, part = self.share, self._find_part(number)
        share.part, share.number, share.num_parts = part, number, self.num_parts
        inside = slice(part.start - self.own.start, part.stop - self.own.start)
        background = batch.background_B3HW
        torch.manual_seed(seed)
        return self.fabric_model(batch.image_B3HW[inside], None if background is None else background[inside])

    def _gather(self, outputs: list[Prediction], name: str) -> Tensor:
        own = torch.cat([promote_to_float32(getattr(output, name).detach()) for output in outputs])
        return self.processes.gather(own, self.batch_size).requires_grad_()

    def _gather_truth(self, batch: Batch) -> Batch:
        names = ["mask_B1HW", "depth_B1HW", "valid_B1HW"] + (["image_B3HW"] if self.objective.reads_image else [])
        return replace(batch, **{name: self.processes.gather(getattr(batch, name), self.batch_size) for name in names})

    def _restore_buffers(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)

    def _halve(self) -> None:
        at_once = self.record["micro_batch"]
        if self.processes.count > 1 or at_once == 1:
            raise UserError(
                f"out of memory with {at_once} samples at once in each of {self.processes.count} processes;"
                + (" set DEPTHMASK_MICRO_BATCH to fewer" if at_once > 1 else " use a smaller image_size_px or model")
            )
        self._restore_buffers()
        self.model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._set_parts(2 * self.num_parts, HALVED)
        self.tell(f"out of memory with {at_once} samples at once; going on with {self.record['micro_batch']} at once")


def find_micro_batch(
    model: DepthMaskModel, objective: Objective, fabric: Fabric, processes: Processes, batch_size: int, size_px: int
) -> dict[str, Any]:
    """How many samples fit at once into the memory of every process's device, as a phase's record has it.

    For several processes, which cannot halve in the middle of a step: some would wait for what another has no memory for.
    Each tries a step of its own size alone, on a copy of the model.
    """
    copied, own = copy.deepcopy(model), -(-batch_size // processes.count)
    share_layers(copied, Share())
    copied.train()
    record: dict[str, Any] = {}
    fabric_model, watch = fabric.setup_module(copied), Stopwatch(fabric.device, False)
    trial = WholeBatch(copied, fabric_model, objective, fabric, ALONE, watch, own, None, record, lambda line: None)
    trial.compute(make_fake_batch(model, own, size_px), seed=0)
    num_parts = processes.find_most(trial.num_parts)
    return {"micro_batch": -(-own // num_parts), "micro_batch_because": HALVED} if num_parts > 1 else {}


def make_fake_batch(model: DepthMaskModel, num_samples: int, size_px: int) -> Batch:
    """Noise of a batch's shapes, where only time or memory matter; no random state of the run is touched."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand((num_samples, 3, size_px, size_px), generator=generator).to(next(model.parameters()).device)
    maps = pictures[:, :1].contiguous()
    return Batch(pictures, maps, maps, maps >= 0, pictures if model.background_input else None)
