"""The Fabric of a training, and its processes: each computes its slice of every batch, and all end a step alike.

They are started by `launching` or by torchrun. With a single process, everything here is a no-op.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from depthmask.base.errors import UserError
from depthmask.compute.device import choose_precision, prepare_device
from depthmask.params import ComputeParams
from depthmask.training.fabric import DDPStrategy, Fabric, LightningEnvironment, TorchElasticEnvironment

TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
COUNTS = tuple(name for name in TORCHRUN_VARIABLES if name != "MASTER_ADDR")


class LostProcess(UserError):
    """Another process of the training has exited; its own error says why."""

    exit_code = 75


class UnwrappedDDPStrategy(DDPStrategy):
    """Fabric's strategy for several processes, without torch's DistributedDataParallel wrapper around the network.

    The wrapper averages gradients during a single backward pass. Here a step may have several passes, gradients are summed, and
    a parameter that no loss reaches has none: `Processes.sum_gradients` is called once, after the last pass.
    """

    def setup_module(self, module: torch.nn.Module) -> torch.nn.Module:
        return module


def is_one_of_several() -> bool:
    """Whether this process was started as one of a training's.

    Raises:
        UserError: one of torchrun's variables is not a number.
    """
    if not all(name in os.environ for name in TORCHRUN_VARIABLES):
        return False
    for name in COUNTS:
        if name in os.environ and not (os.environ[name].isascii() and os.environ[name].isdigit()):
            raise UserError(f"environment: {name}={os.environ[name][:40]}; allowed: a whole number, or unset it")
    return int(os.environ["WORLD_SIZE"]) > 1


def make_fabric(compute: ComputeParams) -> Fabric:
    """Prepare the device; return the Fabric that owns it and the precision, connected to the training's other processes.

    Raises:
        UserError: there are fewer GPUs than processes.
        LostProcess: the others cannot be reached.
    """
    device = prepare_device(compute).type
    precision = choose_precision(compute.precision, device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # else it logs its precision, and each process
    if not is_one_of_several():
        return Fabric(accelerator=device, devices=1, precision=precision, plugins=[LightningEnvironment()])
    count, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if device == "mps" or (device == "cuda" and here > torch.cuda.device_count()):
        available = torch.cuda.device_count() if device == "cuda" else 1
        raise UserError(f"environment: DEPTHMASK_DEVICES={here}; this machine has {available} ({device}); allowed: at most that")
    # explicit, as above: Fabric would read Slurm's number of tasks, which says nothing about this training
    environment = TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=count // here,
        precision=precision,
        strategy=UnwrappedDDPStrategy(process_group_backend="nccl" if device == "cuda" else "gloo"),
        plugins=[environment],
    )
    try:
        fabric.launch()
    except RuntimeError as error:
        raise LostProcess(f"the {count} processes of this training cannot reach one another: {_shorten(error)}") from error
    torch.set_num_threads(compute.threads)  # Fabric divides the cores among the processes, but threads change the last bits
    return fabric


@dataclass(frozen=True)
class Processes:
    """This process among those of a training. control: a gloo group between the hosts, on which no GPU waits."""

    rank: int = 0
    count: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def slice_batch(self, batch_size: int) -> slice:
        """This process's samples of a batch, by their index in it; slices differ by at most one sample."""
        return slice(batch_size * self.rank // self.count, batch_size * (self.rank + 1) // self.count)

    def all_reduce_sum(self, tensor: torch.Tensor, group: dist.ProcessGroup | None = None) -> None:
        """Sum a tensor over all processes, in place; each gets the same bits.

        Raises:
            LostProcess: another process has exited.
        """
        if self.count == 1:
            return
        try:
            dist.all_reduce(tensor, group=group)
        except RuntimeError as error:
            raise LostProcess(
                f"another process of this training has exited ({_shorten(error)});"
                " rerun the same command to resume from the last checkpoint"
            ) from error

    def gather(self, own: torch.Tensor, batch_size: int) -> torch.Tensor:
        """The whole batch, from each process's slice of it."""
        if self.count == 1:
            return own
        whole = own.new_zeros((batch_size, *own.shape[1:]), dtype=torch.uint8 if own.dtype == torch.bool else own.dtype)
        whole[self.slice_batch(batch_size)] = own
        self.all_reduce_sum(whole)  # each element is 0 in all processes but one
        return whole.to(own.dtype)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Make each parameter's gradient the sum over all processes; all must have the same parameters with gradients."""
        gradients = [] if self.count == 1 else [p.grad for p in parameters if p.grad is not None]
        if gradients:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self.all_reduce_sum(flat)
            for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
                gradient.copy_(total.view(gradient.shape))

    def is_any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        flags = torch.tensor([int(flag)])
        self.all_reduce_sum(flags, self.control)
        return bool(flags)

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers; called every step, it also detects a lost process."""
        if self.count == 1:
            return number
        numbers = torch.zeros(self.count, dtype=torch.int64)
        numbers[self.rank] = number
        self.all_reduce_sum(numbers, self.control)
        return int(numbers.max())

    def barrier(self) -> None:
        """Block until all processes have reached this point."""
        self.is_any(False)


SINGLE_PROCESS = Processes()


def join_processes(fabric: Fabric) -> Processes:
    """The processes that share a Fabric; all of them must call this."""
    if fabric.world_size == 1:
        return SINGLE_PROCESS
    return Processes(fabric.global_rank, fabric.world_size, dist.new_group(backend="gloo"))


def _shorten(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]
