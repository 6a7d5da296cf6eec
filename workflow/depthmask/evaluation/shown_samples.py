"""Chooses the test samples to show, and writes their images, one by one for the report and together in grids.

The bytes depend only on the samples, the predictions and the version of Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from depthmask.base.files import replace_file, write_json
from depthmask.evaluation.sample_pictures import paint_prediction
from depthmask.evaluation.score import TestScores, predict_batch, rank_samples
from depthmask.loading.dataset import SampleSet
from depthmask.loading.loader import load_in_order
from depthmask.models.inference import Predict
from depthmask.pictures.colours import CAPTIONS, LEGEND
from depthmask.pictures.grids import draw_grid, save_map
from depthmask.scores import Prominence, list_scores
from depthmask.scores.rounding import round_score

Align = Callable[[Tensor, Tensor, Tensor], Tensor]
NUM_WORST, NUM_BEST = 8, 4
RAW_MAX = 65535  # of a 16-bit image
NUM_FIXED = 4  # samples that stay the same after every training, to compare commits


def choose_samples(scores: TestScores, num_shown: int) -> dict[str, list[int]]:
    """Groups of indices: `shown`, and for each task `worst_...` (worst first) and `best_...` (best first)."""
    groups = {"shown": list(range(min(num_shown, len(scores.identity))))}
    for spec in list_scores(at_least=Prominence.PRIMARY):
        groups[f"worst_{spec.family}"] = rank_samples(scores, spec.family, spec.name)[:NUM_WORST]
        groups[f"best_{spec.family}"] = rank_samples(scores, spec.family, spec.name, best_first=True)[:NUM_BEST]
    return groups


def write_samples(
    folder: Path,
    fixed: Path,
    predict: Predict,
    samples: SampleSet,
    scores: TestScores,
    num_shown: int,
    batch_size: int,
    *,
    align: Align | None = None,
) -> None:
    """Write images of the chosen samples, a grid per group and index.json to an empty folder; a grid of the first to `fixed`.

    align: from prediction, truth and its validity, B x 1 x H x W, to the prediction to show; None: as it is.

    index.json: {"captions": {map: words}, "legend", "groups": {group: [name]}, "grids": {group: file}, "samples":
    {name: {key, background, cutout, kind, mask_fraction, ..., "scores": {task: {key: value}}, "files": {map: file}}}, "scene":
    {"sample": name, "depth": file, "raw_max"}}. The scene is the first sample shown: its predicted depth as 16-bit values, of
    which raw_max is the source's maximum.
    """
    groups = choose_samples(scores, num_shown)
    grouped = {index for indices in groups.values() for index in indices}
    fixed_indices = groups["shown"][:NUM_FIXED] or [0]  # an output of the stage: there even if no sample is to be shown
    chosen = sorted({*grouped, *fixed_indices})
    pictures: dict[int, dict[str, np.ndarray]] = {}
    first_depth = None
    for batch in load_in_order(samples, batch_size, chosen):
        predicted, truth = predict_batch(predict, batch)
        if align is not None:
            fitted = align(predicted.depth_B1HW, truth.depth_B1HW, truth.valid_B1HW)
            predicted = predicted._replace(depth_B1HW=fitted.float())
        if first_depth is None:
            first_depth = predicted.depth_B1HW[0, 0].numpy()
        for b in range(len(batch)):
            prediction = [values[b, 0].numpy() for values in predicted]
            pictures[chosen[len(pictures)]] = paint_prediction(batch, b, *prediction)
    entries = {}
    for index in sorted(grouped):
        maps = pictures[index]
        name = f"{index:06d}"
        files = {map_name: save_map(folder, f"{name}_{map_name}", picture) for map_name, picture in maps.items()}
        shown: dict[str, dict[str, float | None]] = {}
        for spec in filter(attrgetter("gallery"), list_scores()):
            shown.setdefault(spec.family, {})[spec.name] = round_score(scores.value(spec.family, spec.name, index))
        entries[name] = scores.identity[index] | {"scores": shown, "files": files}

    def draw(indices: list[int], path: Path) -> None:
        titles = [_title(scores, index) for index in indices]
        draw_grid([pictures[index] for index in indices], titles, CAPTIONS).save(path, format="PNG")

    with replace_file(fixed) as temporary:
        draw(fixed_indices, temporary)
    grids = {}
    for group, indices in groups.items():
        if indices:
            grids[group] = f"grid_{group}.png"
            draw(indices, folder / grids[group])
    names = {group: [f"{index:06d}" for index in indices] for group, indices in groups.items()}
    index_file = {"captions": CAPTIONS, "legend": LEGEND, "groups": names, "grids": grids, "samples": entries}
    if groups["shown"]:
        index_file["scene"] = _write_scene(folder, names["shown"][0], first_depth)
    write_json(folder / "index.json", index_file)


def _write_scene(folder: Path, name: str, depth: np.ndarray) -> dict[str, Any]:
    """The entry `scene` of index.json; depth: H x W, clipped to 0..1, beyond which a depth fitted to the truth can be."""
    file = f"{name}_scene_depth.png"
    Image.fromarray(np.round(np.clip(depth, 0, 1) * RAW_MAX).astype(np.uint16)).save(folder / file)
    return {"sample": name, "depth": file, "raw_max": RAW_MAX}


def _title(scores: TestScores, index: int) -> str:
    identity: dict[str, Any] = scores.identity[index]
    parts = [identity["key"], identity["kind"]]
    for spec in list_scores(at_least=Prominence.PRIMARY):
        value = scores.value(spec.family, spec.name, index)
        shown = "unknown" if math.isnan(value) else f"{value:.3f}"
        parts.append(f"{spec.family} {spec.name}: {shown}")
    return "   ".join(part for part in parts if part)
