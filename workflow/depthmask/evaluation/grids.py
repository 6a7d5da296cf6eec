"""Pictures of samples: photo, truth, prediction and difference, one by one for the report and together in grids.

The bytes depend on the samples, the predictions and Pillow's version alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from depthmask.base.files import write_json
from depthmask.data.batch import collate
from depthmask.data.sample import Sample
from depthmask.evaluation.score import Predict, TestScores, iterate_batches, rank_samples, round_score
from depthmask.loading.dataset import SampleSet
from depthmask.pictures.colours import (
    CAPTIONS,
    LEGEND,
    find_depth_range,
    paint_depth,
    paint_depth_difference,
    paint_mask,
    paint_mask_difference,
)
from depthmask.registry.scores import Prominence, list_scores

NUM_WORST, NUM_BEST = 8, 4
NUM_FIXED, FIXED = 4, "fixed"  # a folder of samples in one picture each, the same after every training: to compare commits by
TILE_MIN_PX, GAP_PX, TEXT_PX = 112, 6, 12
JPEG_QUALITY = 88


def choose_samples(scores: TestScores, num_shown: int) -> dict[str, list[int]]:
    """Groups of indices: `shown`, and of each task `worst_...` (the worst first) and `best_...` (the best first)."""
    groups = {"shown": list(range(min(num_shown, len(scores.identity))))}
    for spec in list_scores(at_least=Prominence.PRIMARY):
        groups[f"worst_{spec.family}"] = rank_samples(scores, spec.family, spec.name)[:NUM_WORST]
        groups[f"best_{spec.family}"] = rank_samples(scores, spec.family, spec.name, best_first=True)[:NUM_BEST]
    return groups


def write_samples(
    folder: Path, predict: Predict, samples: SampleSet, scores: TestScores, num_shown: int, batch_size: int
) -> None:
    """Write the pictures of the chosen samples, a grid a group, the fixed samples and index.json into an empty folder.

    index.json: {"captions": {map: words}, "legend", "groups": {group: [name]}, "grids": {group: file}, "samples":
    {name: {key, background, cutout, kind, mask_fraction, ..., "scores": {task: {key: value}}, "files": {map: file}}}}.
    """
    groups = choose_samples(scores, num_shown)
    chosen = sorted({index for indices in groups.values() for index in indices})
    pictures: dict[int, dict[str, np.ndarray]] = {}
    for start, batch in zip(range(0, len(chosen), batch_size), iterate_batches(samples, chosen, batch_size), strict=True):
        answer = predict(collate(batch))
        for offset, sample in enumerate(batch):
            prediction = [values[offset, 0].numpy() for values in answer]
            pictures[chosen[start + offset]] = paint_sample(sample, *prediction)
    entries = {}
    for index, maps in pictures.items():
        name = f"{index:06d}"
        files = {map_name: save_map(folder, f"{name}_{map_name}", picture) for map_name, picture in maps.items()}
        shown: dict[str, dict[str, float | None]] = {}
        for spec in filter(attrgetter("gallery"), list_scores()):
            shown.setdefault(spec.family, {})[spec.name] = round_score(scores.value(spec.family, spec.name, index))
        entries[name] = scores.identity[index] | {"scores": shown, "files": files}
    (folder / FIXED).mkdir()
    for index in groups["shown"][:NUM_FIXED]:
        row = draw_grid([pictures[index]], [_title(scores, index)], CAPTIONS)
        row.save(folder / FIXED / f"{index:06d}.png", optimize=True)
    grids = {}
    for group, indices in groups.items():
        if indices:
            grids[group] = f"grid_{group}.png"
            titles = [_title(scores, index) for index in indices]
            draw_grid([pictures[index] for index in indices], titles, CAPTIONS).save(folder / grids[group], optimize=True)
    names = {group: [f"{index:06d}" for index in indices] for group, indices in groups.items()}
    index_file = {"captions": CAPTIONS, "legend": LEGEND, "groups": names, "grids": grids, "samples": entries}
    write_json(folder / "index.json", index_file)


def paint_sample(sample: Sample, mask_prob: np.ndarray, depth: np.ndarray) -> dict[str, np.ndarray]:
    """The seven pictures of CAPTIONS (uint8 H x W x 3); probability and depth are H x W, 0..1."""
    depth_range = find_depth_range(sample.depth, sample.valid)
    return {
        "image": sample.image,
        "mask": paint_mask(sample.mask),
        "mask_prediction": paint_mask(mask_prob),
        "mask_difference": paint_mask_difference(mask_prob, sample.mask),
        "depth": paint_depth(sample.depth, depth_range, sample.valid),
        "depth_prediction": paint_depth(depth, depth_range),
        "depth_difference": paint_depth_difference(depth, sample.depth, sample.valid),
    }


def draw_grid(rows: Sequence[Mapping[str, np.ndarray]], titles: Sequence[str], captions: Mapping[str, str]) -> Image.Image:
    """A row of pictures a sample, with the captions above the columns and a title above each row.

    Small pictures are enlarged by a whole factor, so that the captions fit above them.
    """
    height, width = next(iter(rows[0].values())).shape[:2]
    factor = max(1, math.ceil(TILE_MIN_PX / width))
    tile_w, tile_h = width * factor, height * factor
    row_h = TEXT_PX + GAP_PX + tile_h + GAP_PX
    header_h = TEXT_PX + 2 * GAP_PX
    size = (GAP_PX + len(captions) * (tile_w + GAP_PX), header_h + len(rows) * row_h)
    grid = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(TEXT_PX - 1)
    for column, caption in enumerate(captions.values()):
        draw.text((GAP_PX + column * (tile_w + GAP_PX), GAP_PX), caption, fill="black", font=font)
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = header_h + number * row_h
        draw.text((GAP_PX, top), title, fill="#555555", font=font)
        for column, name in enumerate(captions):
            tile = Image.fromarray(row[name]).resize((tile_w, tile_h), Image.Resampling.NEAREST)
            grid.paste(tile, (GAP_PX + column * (tile_w + GAP_PX), top + TEXT_PX + GAP_PX))
    return grid


def _title(scores: TestScores, index: int) -> str:
    identity: dict[str, Any] = scores.identity[index]
    parts = [identity["key"], identity["kind"]]
    for spec in list_scores(at_least=Prominence.PRIMARY):
        value = scores.value(spec.family, spec.name, index)
        shown = "unknown" if math.isnan(value) else f"{value:.3f}"
        parts.append(f"{spec.family} {spec.name}: {shown}")
    return "   ".join(part for part in parts if part)


def save_map(folder: Path, name: str, picture: np.ndarray) -> str:
    """Masks have few colours and sharp edges: PNG; the others: JPEG. Returns the file's name."""
    if "mask" in name:
        Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)
        return f"{name}.png"
    Image.fromarray(picture).save(folder / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
    return f"{name}.jpg"
