"""From statistics of single images to one number for a set, by a named rule.

A metric gathers sums per image in float64 and is reduced once, at the end: the batches in which the images came
cannot change a score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Statistics = dict[str, Tensor]
Scores = dict[str, Tensor]


def as_float64(values: Tensor) -> Tensor:
    """Double precision where the device has it; Apple's GPUs do not, so their tensors come to the CPU first."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def join_batches(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Per-picture values of several batches, in their order, on the CPU; the keys are those of the first batch."""
    return {key: torch.cat([batch[key].detach().cpu() for batch in batches]) for key in batches[0]} if batches else {}


def mean_over_images(scores: Mapping[str, Tensor]) -> dict[str, float]:
    """Rule `mean_over_images`: every image weighs the same; an image whose score is undefined (NaN) is ignored.

    A score that is undefined for all images stays NaN. The sum is exact, so the order of the images does not matter.
    """
    means = {}
    for key, values in scores.items():
        defined = [value for value in values.tolist() if not math.isnan(value)]
        means[key] = math.fsum(defined) / len(defined) if defined else math.nan
    return means


def pooled(statistics: Mapping[str, Tensor], score: Callable[[Statistics], Scores]) -> dict[str, float]:
    """Rule `pooled`: the statistics are summed over all images, then scored once, as if the set were one image.

    Pooled IoU is the sum of intersections over the sum of unions: large foregrounds weigh more than small ones.
    """
    sums = {key: torch.tensor(math.fsum(values.tolist()), dtype=torch.float64) for key, values in statistics.items()}
    return {key: float(value) for key, value in score(sums).items()}
