"""Whether a model finds the foreground by the look of its paste: test scores when the paste looks different.

    PYTHONPATH=workflow python benchmarks/paste_artefacts.py --weights FILE --raw FOLDER --split FOLDER [--json FILE]

The composites are those of the stage evaluate, with the params of --params. Each row changes one thing in all of them: the
cut-out's edge, colours, sharpness or noise, or the whole photo, and with it the clean background, as a camera would. A model
that has learnt what a foreground is loses little by a changed cut-out; one that has learnt edges or noise of a paste loses
much. A changed edge changes the mask to be found as well; the depth to be found is the same in all rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_json
from depthmask.compose.compose import blend, look_around
from depthmask.compose.harmonizing import harmonize, soften_edge
from depthmask.compute.device import prepare_device
from depthmask.data.batch import INSIDE, ByteBatch
from depthmask.evaluation.score import score_samples, track_batches
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.models.inference import Predict, make_predict
from depthmask.models.model_file import load_model
from depthmask.params import load_params
from depthmask.scores.rounding import round_score
from depthmask.sources import choose_folder, open_source

FEATHER_PX, BLUR_PX, NOISE_LEVELS, JPEG_QUALITY = 1.5, 1.0, 10.0, 50
WARM = (1.25, 1.0, 0.75)  # factors of red, green and blue
SCORES = {"mask IoU": ("mask", "iou"), "depth delta1": ("depth", "delta1")}

# a cut-out, premultiplied RGBA of the image's size, the background around it, and random numbers of the sample: a changed one
CutoutChange = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
PhotoChange = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Shift = Callable[[ByteBatch, int, np.random.Generator], None]  # changes sample b of a batch in place


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True, help="folder written by the download stage")
    parser.add_argument("--store", type=Path, help="folder written by the pack stage, for pre-composited samples")
    parser.add_argument("--split", type=Path, required=True, help="folder written by the split stage")
    parser.add_argument("--weights", type=Path, required=True, help="model file")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="compose, evaluate, seed and compute are read")
    parser.add_argument("--json", type=Path, help="JSON file to write: the scores of each row")
    args = parser.parse_args(argv)
    params = load_params(args.params)
    raw, device = choose_folder(args.raw, args.store), prepare_device(params.compute)
    model = load_model(args.weights)
    test = open_samples(
        raw,
        args.split,
        "test",
        image_size_px=params.evaluate.image_size_px,
        compose=params.compose,
        seed=params.seed,
        num_samples=params.evaluate.num_samples,
        with_background=True,  # cut-outs are lifted from it, whatever the model takes
    )
    predict = make_predict(model, device, params.compute.channels_last)
    if not model.background_input:
        predict = partial(predict_from_image, predict)
    scores = score_shifts(predict, test, params.evaluate.batch_size, open_source(raw).scale.max)
    print(make_table(scores))
    if args.json:
        write_json(args.json, {"weights": args.weights.name, "num_images": len(test), "scores": scores})
    return 0


def predict_from_image(predict: Predict, image_B3HW, _background_B3HW):
    """For a model of the image alone."""
    return predict(image_B3HW, None)


def score_shifts(predict: Predict, samples: SampleSet, batch_size: int, depth_max: float) -> dict[str, dict[str, float | None]]:
    """The scores of every shift, by its name; null where no depth is known."""
    table = {}
    for name, shift in SHIFTS.items():
        summary = score_samples(predict, shift_batches(samples, batch_size, name, shift), (), depth_max).summary
        table[name] = {score: round_score(summary[family][key]) for score, (family, key) in SCORES.items()}
    return table


def shift_batches(samples: SampleSet, batch_size: int, name: str, shift: Shift) -> Iterator[ByteBatch]:
    """The samples in order, changed; the same random numbers for a sample in every run."""
    number = 0
    for batch in track_batches(samples, batch_size, name):
        for b in range(len(batch)):
            shift(batch, b, np.random.default_rng(number))
            number += 1
        yield batch


def make_table(scores: dict[str, dict[str, float | None]]) -> str:
    """Markdown; behind each score its change from the first row."""
    first = next(iter(scores.values()))
    lines = [
        "| composites | " + " | ".join(f"{name} | change" for name in SCORES) + " |",
        "| --- |" + " ---: |" * 2 * len(SCORES),
    ]
    for name, row in scores.items():
        cells = [name]
        for score, value in row.items():
            known = value is not None and first[score] is not None
            cells += [f"{value:.3f}", f"{value - first[score]:+.3f}"] if known else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def leave(batch: ByteBatch, b: int, rng: np.random.Generator) -> None:
    """The composite as it is."""


def change_cutout(change: CutoutChange) -> Shift:
    """Lift the cut-out from its background, change it, and paste it again; a shadow outside the old edge stays."""

    def shift(batch: ByteBatch, b: int, rng: np.random.Generator) -> None:
        image, background, alpha = batch.image[b], batch.background[b], batch.mask[b]
        rows, columns = np.nonzero(alpha)
        if not rows.size:
            return
        there = np.s_[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
        rgba = change(lift(image, background, alpha), look_around(background, there), rng)
        image[alpha > 0] = background[alpha > 0]
        batch.mask[b] = rgba[..., 3]
        blend(image, rgba, batch.mask[b])

    return shift


def lift(image: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The premultiplied cut-out that gives the image when blended over the background."""
    rgb = image - background * (1 - alpha[..., None] / 255)
    return np.dstack([np.rint(rgb).clip(0, alpha[..., None]), alpha]).astype(np.uint8)


def change_photo(change: PhotoChange) -> Shift:
    """Change the image and the clean background alike, with random numbers of their own."""

    def shift(batch: ByteBatch, b: int, rng: np.random.Generator) -> None:
        for images in (batch.image, batch.background):
            images[b] = change(images[b], rng)

    return shift


def harden(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No pixel of the edge is transparent; its colours are those of what was left of it."""
    alpha = rgba[..., 3:].astype(np.uint16)
    straight = (rgba[..., :3] * np.uint16(255) // np.maximum(alpha, 1)).clip(0, 255)
    return np.where(alpha >= INSIDE, np.dstack([straight, np.full_like(alpha, 255)]), 0).astype(np.uint8)


def feather(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wider edge."""
    return soften_edge(rgba, FEATHER_PX)


def fit_colours(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean and spread of the background's colours."""
    return harmonize(rgba, around, 1.0)


def warm(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As under another light than the background's."""
    return np.minimum(rgba * np.array([*WARM, 1.0]), rgba[..., 3:]).astype(np.uint8)


def blur_cutout(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut-out and edge out of focus."""
    return cv2.GaussianBlur(rgba, (0, 0), BLUR_PX)


def add_noise_to_cutout(rgba: np.ndarray, around: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that the background does not have."""
    noise = rng.normal(0, NOISE_LEVELS, rgba[..., :3].shape) * (rgba[..., 3:] / 255)
    return np.dstack([np.rint(rgba[..., :3] + noise).clip(0, rgba[..., 3:]), rgba[..., 3]]).astype(np.uint8)


def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG and back."""
    encoded = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), BLUR_PX)


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.rint(image + rng.normal(0, NOISE_LEVELS, image.shape)).clip(0, 255).astype(np.uint8)


SHIFTS: dict[str, Shift] = {
    "as they are": leave,
    "cut-out: hard edge": change_cutout(harden),
    f"cut-out: feathered edge, {FEATHER_PX} px": change_cutout(feather),
    "cut-out: the background's colours": change_cutout(fit_colours),
    "cut-out: warm light": change_cutout(warm),
    f"cut-out: blurred, {BLUR_PX} px": change_cutout(blur_cutout),
    f"cut-out: noise, {NOISE_LEVELS:g} levels": change_cutout(add_noise_to_cutout),
    f"photo: JPEG, quality {JPEG_QUALITY}": change_photo(compress),
    f"photo: blurred, {BLUR_PX} px": change_photo(blur),
    f"photo: noise, {NOISE_LEVELS:g} levels": change_photo(add_noise),
}

if __name__ == "__main__":
    sys.exit(main())
