"""The gradient of a whole batch, however little of it fits into memory at once and however many processes share it.

Losses are not sums over samples: means are over the known pixels of the whole batch, and so is the balance of losses. So no
loss is ever computed on a micro-batch. The network's outputs for all samples are gathered first, the loss is computed on them
once, and its gradient with respect to each output is propagated back through the network one micro-batch at a time. This is
exact for any loss. A batch in several micro-batches needs two forward passes, since activations are not kept until the loss is
known.
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
from depthmask.training.distributed import SINGLE_PROCESS, Processes
from depthmask.training.fabric import Fabric
from depthmask.training.objective import Objective, count_known
from depthmask.training.sharing import Share, share_layers
from depthmask.training.timing import Stopwatch

MAPS = ("mask_logits_B1HW", "depth_B1HW", "mask_B1HW", "depth_bins_BKHW")
WHOLE_BATCH, FROM_ENVIRONMENT, OUT_OF_MEMORY = "whole batch", "DEPTHMASK_MICRO_BATCH", "out of memory with more"


class GradientAccumulator:
    """Computes a phase's gradients. fabric_model: `model` as set up by Fabric; micro_batch_size: most samples at once, None: all.

    num_known: of the last whole batch, from `count_known`. record: how the phase is computed, as JSON; `micro_batch` and
    `micro_batch_because` are kept up to date in it.
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
        micro_batch_size: int | None,
        record: dict[str, Any],
        log: Callable[[str], None],
    ):
        if batch_size < processes.count:
            raise UserError(f"batch_size: {batch_size} is below the {processes.count} processes; use fewer, or a larger batch")
        self.model, self.fabric_model, self.objective, self.fabric = model, fabric_model, objective, fabric
        self.processes, self.stopwatch, self.batch_size, self.log = processes, stopwatch, batch_size, log
        self.share = Share(processes)
        self.share.batch_size, self.own = batch_size, processes.slice_batch(batch_size)
        self.num_known: dict[str, Tensor] = {}
        self.record, self._has_shared_layers = record, False
        self._buffers = list(model.buffers())
        self._saved_buffers = [buffer.clone() for buffer in self._buffers]
        limits = {WHOLE_BATCH: self._largest, FROM_ENVIRONMENT: micro_batch_size or self._largest}
        if record.get("micro_batch_because") == OUT_OF_MEMORY:
            limits[OUT_OF_MEMORY] = record["micro_batch"]  # a resumed run need not try again
        because = min(limits, key=limits.__getitem__)
        self._set_micro_batches(-(-self._largest // limits[because]), because)

    @property
    def _largest(self) -> int:
        """The largest number of samples of any process."""
        return -(-self.batch_size // self.processes.count)

    def _set_micro_batches(self, num_micro_batches: int, because: str) -> None:
        smallest = self.batch_size // self.processes.count
        self.num_micro_batches = min(num_micro_batches, smallest)
        if not self._has_shared_layers and (self.num_micro_batches > 1 or self.processes.count > 1):
            share_layers(self.model, self.share)
            self._has_shared_layers = True
        self.record |= {
            "micro_batch": -(-self._largest // self.num_micro_batches),
            "micro_batch_because": because if self.num_micro_batches > 1 else WHOLE_BATCH,
        }

    def compute(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Set the parameters' gradients to the whole batch's; return the whole batch's loss and its terms.

        batch: this process's samples. seed: of layers that draw random numbers. Out of memory, the micro-batch size is halved,
        for all later steps too; except with batch norms, the result is the same.

        Raises:
            UserError: a single sample is still too much, or there are several processes, which cannot halve in mid-step.
        """
        while True:
            if self._buffers:
                torch._foreach_copy_(self._saved_buffers, self._buffers)
            self.model.zero_grad(set_to_none=True)
            try:
                if self.num_micro_batches == 1 and self.processes.count == 1:
                    return self._compute_at_once(batch, seed)
                return self._compute_in_micro_batches(batch, seed)
            except torch.OutOfMemoryError:
                pass  # the traceback keeps the attempt's memory alive, so halve only after it is gone
            self._halve()

    def _compute_at_once(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        measure = self.stopwatch.measure
        self.share.micro_batch, self.share.number, self.share.num_micro_batches = slice(0, self.batch_size), 0, 1
        torch.manual_seed(seed)
        with measure("forward"):
            prediction = self.fabric_model(batch.image_B3HW, batch.background_B3HW)
        loss, terms = self.objective.compute_loss(prediction, batch, timer=lambda name: measure(f"loss_{name}"))
        self.num_known = count_known(batch)
        with measure("backward"):
            self.fabric.backward(loss)
        return loss.detach(), terms

    def _compute_in_micro_batches(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        measure, is_single = self.stopwatch.measure, self.num_micro_batches == 1
        with measure("forward"):
            with torch.set_grad_enabled(is_single):
                outputs = [self._predict(batch, number, seed) for number in range(self.num_micro_batches)]
            if not is_single:
                self._restore_buffers()  # running statistics count the second pass only
            maps = {name: self._gather(outputs, name) for name in MAPS if getattr(outputs[0], name) is not None}
        truth = self._gather_truth(batch)
        self.num_known = count_known(truth)
        loss, terms = self.objective.compute_loss(outputs[0]._replace(**maps), truth, timer=lambda name: measure(f"loss_{name}"))
        with measure("backward"):
            gradients = dict(zip(maps, torch.autograd.grad(loss, list(maps.values()), allow_unused=True)))
            for number in range(self.num_micro_batches):
                prediction = outputs[0] if is_single else self._predict(batch, number, seed)
                micro_batch = self._find_micro_batch(number)
                # a sum whose gradient with respect to each output is that of the loss
                total = sum(
                    (promote_to_float32(getattr(prediction, name)) * gradient[micro_batch]).sum()
                    for name, gradient in gradients.items()
                    if gradient is not None
                )
                self.fabric.backward(total)
            self.processes.sum_gradients(self.model.parameters())
        return loss.detach(), {name: value.detach() for name, value in terms.items()}

    def _find_micro_batch(self, number: int) -> slice:
        """A micro-batch's samples, by their index in the whole batch."""
        start, size = self.own.start, self.own.stop - self.own.start
        return slice(start + size * number // self.num_micro_batches, start + size * (number + 1) // self.num_micro_batches)

    def _predict(self, batch: Batch, number: int, seed: int) -> Prediction:
        share, micro_batch = self.share, self._find_micro_batch(number)
        share.micro_batch, share.number, share.num_micro_batches = micro_batch, number, self.num_micro_batches
        local = slice(micro_batch.start - self.own.start, micro_batch.stop - self.own.start)
        background = batch.background_B3HW
        torch.manual_seed(seed)
        return self.fabric_model(batch.image_B3HW[local], None if background is None else background[local])

    def _gather(self, outputs: list[Prediction], name: str) -> Tensor:
        own = torch.cat([promote_to_float32(getattr(output, name).detach()) for output in outputs])
        return self.processes.gather(own, self.batch_size).requires_grad_()

    def _gather_truth(self, batch: Batch) -> Batch:
        names = ["mask_B1HW", "depth_B1HW", "valid_B1HW"] + (["image_B3HW"] if self.objective.reads_image else [])
        names += [] if batch.mask_known_B is None else ["mask_known_B"]
        names += ["relative_B1HW", "relation_B"] if batch.relation_B is not None else []
        return replace(batch, **{name: self.processes.gather(getattr(batch, name), self.batch_size) for name in names})

    def _restore_buffers(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._saved_buffers)

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
        self._set_micro_batches(2 * self.num_micro_batches, OUT_OF_MEMORY)
        self.log(f"out of memory with {at_once} samples at once; continuing with {self.record['micro_batch']} at once")


def find_micro_batch_size(
    model: DepthMaskModel, objective: Objective, fabric: Fabric, processes: Processes, batch_size: int, size_px: int
) -> dict[str, Any]:
    """How many samples fit at once into the memory of every process's device, as entries of a phase's record.

    For several processes, which cannot halve in mid-step: the others would wait for the one that ran out of memory.
    Each tries a step of its own size on a copy of the model.
    """
    copied, own = copy.deepcopy(model), -(-batch_size // processes.count)
    share_layers(copied, Share())
    copied.train()
    record: dict[str, Any] = {}
    fabric_model, watch = fabric.setup_module(copied), Stopwatch(fabric.device, False)
    trial = GradientAccumulator(
        copied, fabric_model, objective, fabric, SINGLE_PROCESS, watch, own, None, record, log=lambda line: None
    )
    trial.compute(make_fake_batch(model, own, size_px), seed=0)
    num_micro_batches = processes.all_reduce_max(trial.num_micro_batches)
    return {"micro_batch": -(-own // num_micro_batches), "micro_batch_because": OUT_OF_MEMORY} if num_micro_batches > 1 else {}


def make_fake_batch(model: DepthMaskModel, num_samples: int, size_px: int) -> Batch:
    """Noise of a batch's shapes, where only time or memory matters; the run's random states are left alone."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand((num_samples, 3, size_px, size_px), generator=generator).to(next(model.parameters()).device)
    maps = pictures[:, :1].contiguous()
    return Batch(pictures, maps, maps, maps >= 0, pictures if model.background_input else None)
