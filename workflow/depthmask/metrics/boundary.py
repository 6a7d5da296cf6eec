"""How well the edges of a depth map are found: the scale-invariant boundary F1 of Depth Pro.

Bochkovskii et al., Depth Pro, ICLR 2025 (arXiv 2410.02073), in the form of the code published with it (boundary_metrics.py). A
pixel has a boundary towards a neighbour (right, left, below, above) at threshold t if the neighbour's depth is more than t times
its own. For each t of THRESHOLDS and each direction, with P and D the boundaries of prediction and truth:

    precision = |P and D| / |P|, recall = |P and D| / |D|, both averaged over the directions; F1 = 2 precision recall / their sum
    boundary_f1 = sum over t of t F1(t) / sum of t

Only pairs of neighbours whose depth is known count. The published code counts a direction, or threshold, at which neither map has
a boundary as 0, so that an image without edges to the right, say, cannot reach 1; here it is left out. In 0..1, higher is better;
NaN without any boundary in truth or prediction. It does not change when the prediction is multiplied by a positive number.

Shapes: B images of H x W; K thresholds.
"""

from __future__ import annotations

import torch
from torch import Tensor

THRESHOLDS = tuple(1.05 + 0.2 * k / 9 for k in range(10))


def gather_boundary_f1(depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """The score of each image, 0 where undefined, and 1 where it is defined, else 0; float64, B. Depths: float64, above 0."""
    counts = [
        _count_boundaries(depth_B1HW, target_B1HW, valid_B1HW, dim, ascending) for dim in (3, 2) for ascending in (True, False)
    ]
    predicted, true, both = (torch.stack(values) for values in zip(*counts, strict=True))  # directions x B x K
    is_counted = predicted + true > 0
    num_directions = is_counted.sum(dim=0)
    precision, recall = ((both / whole.clamp_min(1)).sum(dim=0) / num_directions.clamp_min(1) for whole in (predicted, true))
    f1_BK = torch.where(both.sum(dim=0) > 0, 2 * precision * recall / (precision + recall).clamp_min(1e-300), 0.0)
    total, weights = torch.zeros_like(f1_BK[:, 0]), torch.zeros_like(f1_BK[:, 0])
    for k, threshold in enumerate(THRESHOLDS):  # one by one, so that the batch cannot change the order of the sum
        weight = torch.where(num_directions[:, k] > 0, threshold, 0.0)
        total, weights = total + weight * f1_BK[:, k], weights + weight
    defined = (weights > 0).double()
    return total / torch.where(weights > 0, weights, 1.0), defined


def _count_boundaries(depth: Tensor, target: Tensor, valid: Tensor, dim: int, ascending: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of boundaries in the prediction, in the truth and in both, each float64 B x K, towards the next pixel in `dim`.

    ascending: towards the next pixel, else towards the one before.
    """
    thresholds, size = depth.new_tensor(THRESHOLDS), depth.shape[dim]
    first, second = (0, 1) if ascending else (1, 0)

    def pair(values: Tensor) -> tuple[Tensor, Tensor]:
        return values.narrow(dim, first, size - 1), values.narrow(dim, second, size - 1)

    (near, far), (true_near, true_far), (known, next_known) = pair(depth), pair(target), pair(valid)
    ratio, true_ratio = far / near, true_far / true_near
    edges = known & next_known & ((ratio > THRESHOLDS[0]) | (true_ratio > THRESHOLDS[0]))
    # of the few pixels at an edge: how many thresholds are exceeded
    num, true_num = torch.bucketize(ratio[edges], thresholds), torch.bucketize(true_ratio[edges], thresholds)
    image = edges.nonzero()[:, 0]
    return tuple(_count_exceeding(image, numbers, len(depth)) for numbers in (num, true_num, torch.minimum(num, true_num)))


def _count_exceeding(image: Tensor, num_exceeded: Tensor, num_images: int) -> Tensor:
    """Float64 B x K: how many pixels of each image exceed each threshold."""
    num_bins = len(THRESHOLDS) + 1
    bins = torch.bincount(image * num_bins + num_exceeded, minlength=num_images * num_bins).view(num_images, num_bins)
    return bins.flip(1).cumsum(1).flip(1)[:, 1:].double()
