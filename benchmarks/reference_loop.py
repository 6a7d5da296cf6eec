"""A training step as the authors of the published systems write theirs: eager, channels first, float32, a value read each step.

The networks are this project's (their outputs are the authors'), computed in the order that their descriptions give
(`as_described`), where this project's own forward passes reach the same maps by a shorter way; losses are the formulas written
out, with the plain two-dimensional window of SSIM that the authors' packages use. Nothing here is used by the project itself.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthmask.models.branched_unet import BranchedUnet
from depthmask.models.dense_concat import AddingUpStep, DenseStage
from depthmask.models.multi_dilation_unet import EvenConv2d, MultiDilationBlock, ShuffleUpStep
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_LOSS = 1e-12


def as_described(network: nn.Module) -> nn.Module:
    """The network itself, its layers from now on computed one after the other as they are described."""
    for module in network.modules():
        if type(module) in FORWARD:
            module.forward = types.MethodType(FORWARD[type(module)], module)
    return network


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], weights: LossParams, tasks: Sequence[str]
) -> float:
    """One step; returns the loss. batch: image, background (or None), mask, depth; B x C x H x W."""
    optimizer.zero_grad()
    prediction = network(batch["image"], batch["background"])
    loss = add_losses(prediction, batch, weights, tasks)
    loss.backward()
    optimizer.step()
    return loss.item()


def add_losses(prediction: Prediction, batch: dict[str, Tensor], weights: LossParams, tasks: Sequence[str]) -> Tensor:
    """The weighted sum over both tasks, with system A's balance where it is asked for."""
    sums = {}
    for task in tasks:
        given = {name: weight for name, weight in getattr(weights, task).model_dump().items() if weight}
        sums[task] = sum(weight * compute(name, task, prediction, batch[task]) for name, weight in given.items())
    if weights.balance is not None:
        factor = float((sums["depth"] / sums["mask"].clamp(min=SMALLEST_LOSS)).clamp(1, weights.balance.max).detach())
        sums["mask"] = factor * sums["mask"]
    return weights.scale * sum(sums.values())


def compute(name: str, task: str, prediction: Prediction, target: Tensor) -> Tensor:
    """One loss of one task's map."""
    logits = prediction.mask_logits_B1HW if task == "mask" else None
    if name == "bce_with_logits":
        return F.binary_cross_entropy_with_logits(logits, target)
    if name == "cross_entropy":
        levels = prediction.depth_bins_BKHW
        return F.cross_entropy(levels, (target[:, 0] * (levels.shape[1] - 1)).round().long())
    found = prediction.depth_B1HW if task == "depth" else torch.sigmoid(logits) if logits is not None else prediction.mask_B1HW
    if prediction.stats is not None and name in ("l1", "l1_sum", "mse"):
        mean, std = getattr(prediction.stats, f"{task}_mean"), getattr(prediction.stats, f"{task}_std")
        found, target = (found - mean) / std, (target - mean) / std
    return LOSSES[name](found, target)


def dice(found: Tensor, target: Tensor) -> Tensor:
    overlap = (found * target).sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + 1) / (found.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) + 1)).mean()


def ssim(found: Tensor, target: Tensor) -> Tensor:
    return 1 - _compare(found, target, 11)[0].mean()


def ms_ssim(found: Tensor, target: Tensor) -> Tensor:
    side = min(found.shape[-2:])
    window = next(w for w in (11, 9, 7, 5, 3) if side > (w - 1) * 16)
    parts = []
    for scale in range(len(MS_SSIM_WEIGHTS)):
        whole, contrast = (values.mean(dim=(2, 3)) for values in _compare(found, target, window))
        parts.append(whole if scale == len(MS_SSIM_WEIGHTS) - 1 else contrast)
        padding = [s % 2 for s in found.shape[2:]]
        found, target = (F.avg_pool2d(values, 2, padding=padding) for values in (found, target))
    product = torch.stack([part.relu() ** weight for part, weight in zip(parts, MS_SSIM_WEIGHTS, strict=True)]).prod(dim=0)
    return 1 - product.mean()


def _compare(found: Tensor, target: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast term at each window that lies inside the image."""
    line = torch.exp(-((torch.arange(side, dtype=torch.float32) - side // 2) ** 2) / (2 * 1.5**2))
    line = (line / line.sum()).to(found)
    window = (line[:, None] * line[None])[None, None]
    mean_found, mean_target = F.conv2d(found, window), F.conv2d(target, window)
    variance_found = F.conv2d(found * found, window) - mean_found**2
    variance_target = F.conv2d(target * target, window) - mean_target**2
    covariance = F.conv2d(found * target, window) - mean_found * mean_target
    contrast = (2 * covariance + 0.03**2) / (variance_found + variance_target + 0.03**2)
    return (2 * mean_found * mean_target + 0.01**2) / (mean_found**2 + mean_target**2 + 0.01**2) * contrast, contrast


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda found, target: (found - target).abs().mean(),
    "l1_sum": lambda found, target: (found - target).abs().sum(),
    "mse": lambda found, target: ((found - target) ** 2).mean(),
    "dice": dice,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
}


def _forward_dense_stage(self: DenseStage, x: Tensor) -> tuple[Tensor, Tensor]:
    maps = []
    for unit in self.units:
        maps.append(unit(torch.cat([x, *maps] if self.reads_input else maps, dim=1) if maps else x))
    return torch.cat(maps, dim=1), maps[-1]


def _forward_branched(self: BranchedUnet, image: Tensor, background: Tensor) -> Prediction:
    maps = [torch.cat([background, image], dim=1)]
    for part in self.shared:
        maps.append(part(maps[-1]))
    return Prediction(self.mask_branch(maps[1:]), self.depth_branch(maps[1:]))


FORWARD: dict[type[nn.Module], Callable] = {
    EvenConv2d: nn.Conv2d.forward,
    MultiDilationBlock: lambda self, x: self.relu(torch.cat([self.pointwise(x), *(path(x) for path in self.paths)], dim=1)),
    ShuffleUpStep: lambda self, deep, skip: self.relu(torch.cat([self.enlarge(deep), self.halve(skip)], dim=1)),
    DenseStage: _forward_dense_stage,
    AddingUpStep: lambda self, deep, skip: self.refine(self.relu(self.reduce(self.enlarge(deep))) + skip),
    BranchedUnet: _forward_branched,
}
