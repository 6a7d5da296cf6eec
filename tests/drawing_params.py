"""Whole params files within the schema, drawn at random for a project of a few small images; each follows from its number.

A file is the tiny project's with about a quarter of its keys changed to values that people use, and one to three to *extremes*:
the bounds of the schema, and values beyond them that a schema without bounds takes (1e18 samples, a weight of 1e300). Most
numbers are small, so that what can be run is run within seconds. `LONG` values are legal and would run for minutes or days:
those of a training are drawn too, since a training can be stopped by SIGTERM; those of the test set, and of the validation, which
are kept in memory until all are made, are only checked.
"""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from depthmask.params import Params
from depthmask.params.fields import SCORED_MAX
from depthmask.registry.networks import NETWORKS

FLOATS = [1e-300, 1e-30, 1e-9, 1e9, 1e30, 1e300]
COUNTS = [2_000_000, 10**9, 10**12, 10**18, 2**63, 10**30]
SIZES = [16, 32, 48, 64]
RATES = [1e-8, 1e-4, 0.01, 0.5, 10.0, 1000.0]
RATIOS = [1e-300, 1e-9, 0.001, 0.5, 0.999, 1.0 - 1e-9]

# key of a phase: (values that people use, extremes)
PHASE: dict[str, tuple[list[Any], list[Any]]] = {
    "image_size_px": (SIZES, [16, 17, 33, 96, 1024, 2048, 4096]),
    "batch_size": ([1, 2, 3, 8], [1, 64, 1024, 100_000, 2_000_000, 10**18]),
    "samples_per_epoch": ([8, 16, 17, 32], [1, 2, *COUNTS]),
    "epochs": ([1, 2, 3], [100_000, *COUNTS]),
    "optimizer": (["adamw", "sgd"], []),
    "learning_rate": ([1e-3, 3e-3, 0.1], [*RATES, *FLOATS]),
    "weight_decay": ([0, 0.01, 0.1], [0, 1, 1000, *FLOATS]),
    "momentum": ([0, 0.9], [0, 1e-300, 0.999999999]),
    "schedule": (["constant", "one_cycle", "cosine", "step", "plateau", "triangular2"], []),
    "warmup_fraction": ([0.2, 0.5], RATIOS),
    "milestones": ([[], [1], [1, 2]], [[10**18], [1, 10**30], list(range(1, 2000))]),
    "gamma": ([0.1, 0.5], RATIOS),
    "patience_epochs": ([0, 2], COUNTS),
    "cycle_epochs": ([1, 2], COUNTS),
    "encoder_lr_factor": ([1.0, 0.1], [1e-6, 100.0]),
    "frozen_encoder_stages": ([0, 2], [5, 100, "all"]),
    "freeze_batch_norm": ([False, True], []),
    "clip_norm": ([None, 5.0], [1e-300, 1e300, 1e-30]),
    "ema_decay": ([None, 0.9], RATIOS),
    "early_stop_epochs": ([None, 1, 2], COUNTS),
    "keep": (["last", "best"], []),
    "augment": ([True, False], []),
    "validation_samples": ([1, 2, 8], COUNTS),
    "tasks": (["both", "mask", "depth"], []),
    "loss_upscale": ([1, 2, 4], []),
}
# key of params.yaml: the same
KEYS: dict[str, tuple[list[Any], list[Any]]] = {
    "seed": ([0, 1], [2**32 - 1]),
    "download.depth.max": ([20.0, 10.0], [0.001, *FLOATS]),
    "download.depth.raw_max": ([20000], [1, 65535, None]),
    "download.depth.raw_unknown": ([None, 0], [65535, 1]),
    "download.mask": (
        [None],
        [{"invert": True}, {"foreground": [255]}, {"background": [[0, 0, 0]], "ignore": [[255, 255, 255]]}],
    ),
    "download.composites_per_background": ([4000], [1, *COUNTS]),
    "download.composites_per_part": ([None], [1, *COUNTS]),
    "download.on_bad_sample": (["error", "skip"], []),
    "pack.shards": ([1, 3], [100, 16]),
    "split.fraction": ([1.0, 0.8], [1e-300, 1e-9, 0.1, 0.5]),
    "split.validation": ([0.25, 0.1], RATIOS),
    "split.test": ([0.25, 0.1], RATIOS),
    "split.seed": ([None, 0, 7], [2**32 - 1]),
    "compose.placement": (["floor", "uniform", "grid"], []),
    "compose.fit": (["crop", "stretch"], []),
    "compose.field_of_view_deg": ([53.0, None, 90.0], [1e-300, 1e-9, 0.1, 1.0, 170.0, 179.999999999]),
    "compose.scale_min": ([0.3], [1e-300, 1e-9, 0.01, 1.0]),
    "compose.scale_max": ([0.6], [1e-300, 1e-9, 0.01, 1.0]),
    "compose.flip_background": ([0.5, 0, 1], [1e-300]),
    "compose.flip_cutout": ([0.5, 0, 1], [1e-300]),
    "compose.shadow": ([0.35, 0], [1.0, 1e-300]),
    "compose.view_min": ([None, 1.0, 0.5], [0.1]),
    "compose.harmonize": ([0, 0.5], [1.0, 1e-300]),
    "compose.soften_px": ([0, 1.0], [4.0, 1e-300, 1e-9]),
    "compose.match_sharpness": ([0, 0.5], [1.0, 1e-300]),
    "compose.match_noise": ([0, 0.5], [1.0, 1e-300]),
    "compose.clutter": ([0, 2], [8, 1]),
    "model.width": ([8, 16], [4, 256]),
    "model.dropout": ([0, 0.05], RATIOS),
    "loss.foreground": ([1.0, 5.0], [100, 99.9]),
    "loss.scale": ([1.0, 2.0], FLOATS),
    "loss.balance": ([None, {"max": 20.0}], [{"max": 1e300}, {"max": 1}, {"max": 1e9}]),
    "evaluate.image_size_px": (SIZES, [16, 17, 33, 1024, 4096]),
    "evaluate.batch_size": ([1, 8, 32], [1024, *COUNTS]),
    "evaluate.num_samples": ([1, 2, 12, 25], COUNTS),
    "evaluate.baseline_samples": ([1, 8, 16], COUNTS),
    "evaluate.num_shown": ([0, 2], [64]),
    "evaluate.flip": ([False, True], []),
    "evaluate.depth_min": ([None, 0.001], [1e-6, 1e6]),
    "evaluate.depth_max": ([None, 8.0], [1e-6, 1e6]),
    "evaluate.depth_crop": ([None, "eigen"], []),
    "evaluate.more": ([{}], []),
    "report.num_worst": ([0, 1], [64]),
    "compute.precision": (["auto", "float32", "bfloat16"], []),
    "compute.threads": ([1], [2, 64, 256]),
    "compute.deterministic": ([True, False], []),
    "compute.channels_last": ([True, False], []),
    "compute.compile": ([False], []),
}
TRANSFORMS: dict[str, list[tuple[str, dict[str, list[Any]]]]] = {
    "geometric": [
        ("horizontal_flip", {}),
        ("rotate", {"limit_deg": [0, 10, 180, 1e-300]}),
        ("shift_scale_rotate", {"shift": [0, 0.05, 1e-300, 0.999999], "scale": [0, 0.1, 0.999999999], "rotate_deg": [0, 5, 180]}),
        ("zoom", {"scale_max": [1.2, 4, 1.000000001]}),
        ("grid_distortion", {"num_steps": [1, 2, 5, 20], "limit": [0, 0.3, 0.999999]}),
    ],
    "photometric": [
        ("brightness_contrast", {"brightness": [0, 0.2, 1], "contrast": [0, 0.2, 1]}),
        ("hue_saturation", {"hue_deg": [0, 10, 180], "saturation": [0, 30, 255], "value": [0, 10, 255]}),
        ("blur", {"kernel_max_px": [3, 4, 31]}),
        ("grey", {}),
        ("noise", {"std_max": [1e-300, 0.05, 1]}),
        ("jpeg", {"quality_min": [1, 60, 100]}),
    ],
}
MAP_LOSSES = ["l1", "l1_sum", "mse", "smooth_l1", "gradient", "bce", "ssim", "ms_ssim"]
LOSSES = {
    "mask": [*MAP_LOSSES, "dice", "dice_squared", "bce_with_logits"],
    "depth": [*MAP_LOSSES, "log_l1", "log_gradient", "scale_shift_invariant", "smoothness", "cross_entropy"],
}
WEIGHTS = [0, 0.5, 1.0, 2.0]
EXTREME_WEIGHTS = [1e-300, 1e-30, 1e6, 1e30, 1e300]
LIGHT = ["compact", "compact", "compact", "dilated_small", "two_stream_separable", "multi_dilation_unet"]
LONG = {  # more takes minutes, in which a training, too, does not look whether it is to stop
    "evaluate.num_samples": 20_000,
    "evaluate.baseline_samples": 20_000,
    "pretrain.validation_samples": 20_000,
    "finetune.validation_samples": 20_000,
}
SCORED_SIDE_PX = 256  # of test images that are scored within seconds
AT_BOUNDS = 1000  # from this number on, extremes are the bounds of the schema themselves
SOURCES = ["demo", "demo", "demo", "demo", "nested", "flat_named"]


@dataclass(frozen=True)
class DrawnCase:
    """values: of params.yaml. source: of the tiny project. num_assets: backgrounds, and cut-outs. workers: loader processes.

    is_checked_only: legal, and too long to be run here. is_stopped: its trainings are stopped by SIGTERM after some seconds.
    """

    values: dict[str, Any]
    source: str
    num_assets: int
    workers: int
    is_checked_only: bool
    is_stopped: bool


def draw_case(number: int, tiny: dict[str, Any]) -> DrawnCase:
    """Case `number`; tiny: values of params.yaml that run in a second or two."""
    r = random.Random(f"params values {number}")
    values = copy.deepcopy(tiny)
    source = r.choice(SOURCES)
    for key, (used, _) in KEYS.items():
        if r.random() < 0.25:
            _set(values, key, r.choice(used))
    _draw_network(r, values, source)
    values["augment"] = {group: _draw_transforms(r, group) for group in TRANSFORMS}
    values["loss"] |= {task: _draw_losses(r, values, task) for task in LOSSES}
    for stage in ("pretrain", "finetune"):
        _draw_phase(r, values, stage)
    _draw_extremes(r, values, find_bounds() if number >= AT_BOUNDS else {})
    _fit(r, values)
    checked_only = [key for key, most in LONG.items() if most < _get(values, key) <= SCORED_MAX]
    checked_only += [size_px for size_px in [values["evaluate"]["image_size_px"]] if size_px > SCORED_SIDE_PX]
    return DrawnCase(values, source, r.choice([3, 4, 5, 8, 12, 16]), int(r.random() < 0.15), bool(checked_only), _is_long(values))


def _is_long(values: dict[str, Any]) -> bool:
    """Whether a training takes more than a few seconds."""
    phases = [values[stage] for stage in ("pretrain", "finetune")]
    samples = max(phase["samples_per_epoch"] * phase["epochs"] for phase in phases)
    pixels = max(phase["batch_size"] * phase["image_size_px"] ** 2 for phase in phases)
    return samples > 200 or pixels > 64 * 64**2 or values["model"]["width"] > 16


def _draw_network(r: random.Random, values: dict[str, Any], source: str) -> None:
    name = r.choice(LIGHT) if r.random() < 0.7 else r.choice([n for n in NETWORKS if n != "smp_unet"])
    spec = NETWORKS[name]
    values["model"]["name"] = name
    values["model"]["background_input"] = spec.needs_background or (spec.takes_background and r.random() < 0.7)


def _draw_transforms(r: random.Random, group: str) -> list[dict[str, Any]]:
    listed = []
    for name, fields in r.sample(TRANSFORMS[group], r.choice([0, 1, 2])):
        drawn = {key: r.choice(pool) for key, pool in fields.items()}
        listed.append({"transform": name, "probability": r.choice([0, 0.3, 0.5, 1])} | drawn)
    return listed


def _draw_losses(r: random.Random, values: dict[str, Any], task: str) -> dict[str, float]:
    spec = NETWORKS[values["model"]["name"]]
    known = [
        name
        for name in LOSSES[task]
        if (name != "bce_with_logits" or spec.mask_gives == "logits") and (name != "cross_entropy" or spec.has_depth_bins)
    ]
    return {name: r.choice(WEIGHTS[1:]) for name in r.sample(known, r.choice([1, 1, 2, 3]))}


def _draw_phase(r: random.Random, values: dict[str, Any], stage: str) -> None:
    for key, (used, _) in PHASE.items():
        if r.random() < 0.25:
            values[stage][key] = r.choice(used)
    if r.random() < 0.15:
        values[stage]["loss"] = {
            **{task: _draw_losses(r, values, task) for task in LOSSES},
            "foreground": 1.0,
            "scale": 1.0,
            "balance": None,
        }
    if r.random() < 0.15:
        values[stage]["more_phases"] = [{"image_size_px": r.choice(SIZES), "epochs": 1, "keep": r.choice(["last", "best"])}]


@cache
def find_bounds() -> dict[str, list[float]]:
    """The smallest and the largest number that the schema allows for each key; of an open end, the number next to it."""
    schema, bounds = Params.model_json_schema(), {}

    def walk(node: dict[str, Any], key: str) -> None:
        if "$ref" in node:
            walk(schema["$defs"][node["$ref"].rpartition("/")[2]], key)
        for kind in node.get("anyOf", []):
            walk(kind, key)
        for name, child in node.get("properties", {}).items():
            walk(child, f"{key}.{name}".lstrip("."))
        if node.get("type") in ("integer", "number"):
            ends = [node[name] for name in ("minimum", "maximum") if name in node]
            ends += [math.nextafter(node["exclusiveMinimum"], math.inf)] if "exclusiveMinimum" in node else []
            ends += [math.nextafter(node["exclusiveMaximum"], -math.inf)] if "exclusiveMaximum" in node else []
            bounds[key] = [int(end) if node["type"] == "integer" else end for end in ends]

    walk(schema, "")
    return bounds


def _draw_extremes(r: random.Random, values: dict[str, Any], bounds: dict[str, list[float]]) -> None:
    """One to three keys at the edge of what is allowed, or far beyond what makes sense."""
    of_phases = [f"{stage}.{key}" for stage in ("pretrain", "finetune") for key, (_, extremes) in PHASE.items() if extremes]
    of_others = [key for key, (_, extremes) in KEYS.items() if extremes]
    of_losses = [f"loss.{task}.{name}" for task in ("mask", "depth") for name in values["loss"][task]]
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        kind = r.random()
        key = r.choice(of_phases if kind < 0.45 else of_others if kind < 0.93 else of_losses)
        section, _, name = key.partition(".")
        pool = (
            bounds[key]
            if bounds.get(key)
            else EXTREME_WEIGHTS
            if key in of_losses
            else PHASE[name][1]
            if section in ("pretrain", "finetune")
            else KEYS[key][1]
        )
        _set(values, key, r.choice(pool))


def _fit(r: random.Random, values: dict[str, Any]) -> None:
    """Mend, mostly, what only a slip would combine, so that most files are refused for no such reason."""
    if r.random() < 0.03:
        return
    spec, compose = NETWORKS[values["model"]["name"]], values["compose"]
    if compose["fit"] != "crop":
        compose["field_of_view_deg"] = None
    compose["scale_min"] = min(compose["scale_min"], compose["scale_max"])
    if values["split"]["validation"] + values["split"]["test"] >= 1:
        values["split"]["test" if values["split"]["validation"] < 0.5 else "validation"] = 0.25
    depth_max, scored = values["download"]["depth"]["max"], values["evaluate"]
    if max(scored[key] or 0 for key in ("depth_min", "depth_max")) > depth_max or (scored["depth_min"] or 0) >= depth_max:
        scored["depth_min"] = scored["depth_max"] = None
    if (scored["depth_min"] or 0) >= (scored["depth_max"] or depth_max):
        scored["depth_min"] = None
    losses = [values["loss"]]
    for stage in ("pretrain", "finetune"):
        phase = values[stage]
        losses += [phase["loss"]] if phase["loss"] else []
        for part in (phase, *phase["more_phases"]):
            part["image_size_px"] = _fit_size(spec, part["image_size_px"])
        phase["samples_per_epoch"] = max(phase["samples_per_epoch"], phase["batch_size"])
        if phase["schedule"] == "step" and not phase["milestones"]:
            phase["milestones"] = [1]
        phase["tasks"] = phase["tasks"] if spec.has_branches else "both"
    values["evaluate"]["image_size_px"] = _fit_size(spec, values["evaluate"]["image_size_px"])
    parts = [part for stage in ("pretrain", "finetune") for part in (values[stage], *values[stage]["more_phases"])]
    sizes = [part["image_size_px"] for part in parts]
    if min(sizes) < 33:
        for loss in losses:
            for task in LOSSES:
                if loss[task].pop("ms_ssim", None):
                    loss[task]["l1"] = 1.0


def _fit_size(spec: Any, size_px: int) -> int:
    if spec.pads:
        return size_px
    return max(spec.min_size_px, size_px - size_px % spec.stride)


def _get(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *way, last = key.split(".")
    for part in way:
        values = values[part]
    values[last] = copy.deepcopy(value)
