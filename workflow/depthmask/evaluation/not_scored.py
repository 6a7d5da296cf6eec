"""Scores that a test set cannot give, and why: a perfect score where there is nothing to find would be a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from depthmask.metrics.reduce import Statistics
from depthmask.scores import FOREGROUND, POOLED, split_key

NO_MASK, NO_FOREGROUND = "no test image has a known mask", "no test image has foreground"
NO_DEPTH, NO_FOREGROUND_DEPTH = "no test image has known depth", "no test image has known depth in its foreground"
NO_DEPTH_INSIDE = "no test image has known depth within evaluate.depth_min, depth_max and depth_crop"
NO_BOUNDARY = "no test image has an edge in its depth"
NO_RATIOS = "the depth is relative and grows with its inverse (near_is_large), so that ratios of depths mean nothing"
NOTHING_ABOVE_CUT = "no test image has values above the cut"
RELATIVE_DEPTH = "the test images' known depth is relative, on a scale of its own"  # in a mixture, see `loading.depth_scale`
UNDEFINED = "undefined for every test image"


def find_reason(family: str, name: str, sums: Statistics, *, has_relative: bool = False) -> str | None:
    """Why a score of a family says nothing over the images with these sums; None if it does.

    Masks are only scored if some known mask has foreground, even by scores that are defined without any, such as `mae`.
    has_relative: whether some of the images have depth that cannot be compared with the model's.
    """
    reason = _find_reason(family, name, sums)
    return RELATIVE_DEPTH if reason == NO_DEPTH and has_relative else reason


def _find_reason(family: str, name: str, sums: Statistics) -> str | None:
    if family == "published":
        task, _, score = name.partition("_")
        own = {key.removeprefix(f"{task}_"): values for key, values in sums.items() if key.startswith(f"{task}_")}
        return _find_reason_of_published(task, score, own)
    if family == "mask":
        return _find_reason_of_mask(sums["num_pixels"], sums["true_positives"] + sums["false_negatives"])
    return _find_reason_of_depth(name, sums)


def _find_reason_of_depth(name: str, sums: Statistics) -> str | None:
    if not _any(sums["num_pixels"]):
        return NO_DEPTH
    found = split_key("depth", name.removesuffix(POOLED))
    if found is None:
        return None
    spec, variant = found
    if not _any(sums[f"{variant.prefix}num_pixels"]):
        return NO_FOREGROUND_DEPTH if variant.prefix == FOREGROUND else NO_DEPTH_INSIDE
    if (spec.of_ratios or variant.of_ratios) and not _any(sums["num_log_pixels"]):
        return NO_RATIOS
    return NO_BOUNDARY if spec.name == "boundary_f1" and not _any(sums["boundary_num"]) else None


def count_images(statistics: Mapping[str, Statistics]) -> dict[str, int]:
    """How many images have a known mask, a known mask with foreground, and known depth."""
    mask, depth = statistics["mask"], statistics["depth"]
    counted = {
        "mask": mask["num_pixels"],
        "foreground": mask["true_positives"] + mask["false_negatives"],
        "depth": depth["num_pixels"],
    }
    return {what: int((values > 0).sum()) for what, values in counted.items()}


def _find_reason_of_mask(num_pixels: Tensor, true_pixels: Tensor) -> str | None:
    if not _any(num_pixels):
        return NO_MASK
    return None if _any(true_pixels) else NO_FOREGROUND


def _find_reason_of_published(task: str, score: str, own: Statistics) -> str | None:
    cut = score.removeprefix("iou").removesuffix(POOLED) if score.startswith("iou") else ""
    if task == "mask":
        reason = _find_reason_of_mask(own["num_pixels"], own["true_pixels"])
    else:
        reason = None if _any(own["num_pixels"]) else NO_DEPTH
    if reason is None and score.startswith("iou") and not _any(own[f"true_pixels{cut}"]):
        return NOTHING_ABOVE_CUT
    return reason


def _any(values: Tensor) -> bool:
    return bool((values > 0).any())
