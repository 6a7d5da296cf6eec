"""Recipes cut down to a few steps of small images; networks, losses, schedules, tasks and the order of phases stay."""

from __future__ import annotations

from typing import Any

SIZES_PX = {"pretrain": 48, "finetune": 64}  # what every network takes, and MS-SSIM too
SMALL = {"batch_size": 2, "samples_per_epoch": 2, "validation_samples": 2}


def shrink_recipe(values: dict[str, Any]) -> dict[str, Any]:
    """The params of a recipe with two steps in the first phase of each section and one in each further phase."""
    small = dict(values)
    for section, size_px in SIZES_PX.items():
        phases = [
            {**changes, **({"image_size_px": size_px} if "image_size_px" in changes else {}), **SMALL, "epochs": 1}
            for changes in values[section]["more_phases"]
        ]
        small[section] = {**values[section], **SMALL, "image_size_px": size_px, "epochs": 2, "more_phases": phases}
    small["split"] = {**values["split"], "fraction": 1.0}  # a part of a small pack is nothing
    small["evaluate"] = {**values["evaluate"], "image_size_px": SIZES_PX["finetune"]}
    small["compute"] = {**values["compute"], "threads": 1}
    return small
