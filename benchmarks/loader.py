"""CPU milliseconds that a training sample costs before the network sees it.

    python benchmarks/loader.py [--samples 192] [--repeats 5]

Compares, in one run and turn by turn, with the augmentations of system A (flip, rotation, brightness and contrast, blur,
grey), image + mask + depth, to float32 tensors:

(a) files      three JPEG files of 224 px decoded, resized, and augmented by albumentations, a sample at a time, as the
               authors of the published systems do it
(b) packed     the packed store, augmented by albumentations, a sample at a time
(c) batch      the packed store, by whole batches, as this project trains from pre-composited samples
(d) composed   composites made from backgrounds and cut-outs, by whole batches, as it trains from the demo pack; (a) to (c)
               have this work behind them
(e) realism    the same with every option of compose that makes training composites more realistic

Processor time of one process without other threads, so that another load on the machine matters little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from PIL import Image

from depthmask.augment import Augmenter
from depthmask.augment.reference import A, make_pipelines
from depthmask.compose.composer import Composer
from depthmask.compute.device import keep_freed_memory
from depthmask.data.batch import ByteBatch
from depthmask.download.fetch import fetch
from depthmask.loading.dataset import ComposedSet, PackedSet, SampleSet
from depthmask.loading.split_files import PARTS
from depthmask.packing.pack import pack
from depthmask.packing.shards import PackPlan
from depthmask.params import AugmentParams, Params, load_params
from depthmask.sources.assets import DemoSource
from depthmask.sources.packed import PackedSource
from depthmask.split.packed import PackedSplit, write_packed

PROJECT = Path(__file__).parents[1]
FILE_PX = 224
SIZES_PX = (80, 224)
BATCH = 32
AUGMENT = AugmentParams(
    geometric=[
        {"transform": "horizontal_flip", "probability": 0.5},
        {"transform": "rotate", "probability": 0.5, "limit_deg": 10},
    ],
    photometric=[
        {"transform": "brightness_contrast", "probability": 0.5, "brightness": 0.2, "contrast": 0.2},
        {"transform": "blur", "probability": 0.1, "kernel_max_px": 3},
        {"transform": "grey", "probability": 0.1},
    ],
)


REALISTIC = {"harmonize": 0.6, "soften_px": 1.0, "match_sharpness": 0.5, "match_noise": 0.5, "clutter": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=192, help="of each way in one measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way, taken in turn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()  # as training does; it serves all ways
    params = load_params(PROJECT / "params.yaml")
    with tempfile.TemporaryDirectory() as place:
        ways = prepare(Path(place), params, args.samples)
        print(f"{'size':>6}  {'way':<12}{'CPU ms a sample':>16}{'(a) / it':>10}")
        for size_px in SIZES_PX:
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for repeat in range(args.repeats + 1):
                for name, make in ways.items():
                    begun = time.process_time()
                    make(size_px, repeat)
                    seconds[name].append(time.process_time() - begun)
            medians = {name: 1000 * statistics.median(values[1:]) / args.samples for name, values in seconds.items()}
            for name, median in medians.items():
                print(f"{size_px:>4} px  {name:<12}{median:>16.3f}{medians['(a) files'] / median:>10.1f}")


def prepare(place: Path, params: Params, num_samples: int) -> dict[str, Callable[[int, int], None]]:
    """Write composites as files of a published layout, pack them, and return what makes num_samples of each way."""
    files, raw, store = place / "files", place / "raw", place / "store"
    write_files(files, params, num_samples)
    relative = params.download.depth.model_copy(update={"unit": "relative", "max": 1.0, "raw_max": 255})
    numbered = {"source": "flat_numbered", "path": str(files), "composites_per_background": 1, "depth": relative}
    fetch(params.download.model_copy(update=numbered), raw)
    pack(raw, store, PackPlan(sizes_px=SIZES_PX, fit="crop", num_shards=1), num_processes=1, root=place)
    plain = {size_px: open_packed(store, size_px, None) for size_px in SIZES_PX}
    packed = {size_px: open_packed(store, size_px, Augmenter(AUGMENT)) for size_px in SIZES_PX}
    composed = {size_px: open_composed(params, size_px) for size_px in SIZES_PX}
    like_photos = params.model_copy(update={"compose": params.compose.model_copy(update=REALISTIC)})
    realistic = {size_px: open_composed(like_photos, size_px) for size_px in SIZES_PX}
    return {
        "(a) files": lambda size_px, repeat: make_from_files(files, size_px, num_samples),
        "(b) packed": lambda size_px, repeat: make_one_by_one(plain[size_px], num_samples),
        "(c) batch": lambda size_px, repeat: make_batches(packed[size_px], repeat, num_samples),
        "(d) composed": lambda size_px, repeat: make_batches(composed[size_px], repeat, num_samples),
        "(e) realism": lambda size_px, repeat: make_batches(realistic[size_px], repeat, num_samples),
    }


def write_files(folder: Path, params: Params, num_samples: int) -> None:
    """Composites of the demo pack as JPEG files in the layout `flat_numbered`."""
    samples = make_composer(params, FILE_PX)
    for number in range(1, num_samples + 1):
        maps = ByteBatch.allocate(1, FILE_PX, FILE_PX, with_background=False)
        samples.fill(maps, [0], [number])
        named = {"images/fgbg": maps.image[0], "masks/mask": maps.mask[0], "depth/fgbg": (maps.depth[0] * 255).astype(np.uint8)}
        for name, pixels in named.items():
            path = folder / f"{name}{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=90)


def make_composer(params: Params, size_px: int) -> Composer:
    source = DemoSource(PROJECT / "data" / "demo", params.download)
    return Composer(source, source.backgrounds, source.cutouts, size_px, params.compose, seed=0, shuffle=True)


def open_packed(store: Path, size_px: int, augmenter: Augmenter | None) -> PackedSet:
    """All composites of the store as one part."""
    source = PackedSource(store)
    rows = {part: np.arange(len(source), dtype=np.int32) for part in PARTS}
    index = source.read_index()
    split = store.parent / "split"
    split.mkdir(exist_ok=True)
    write_packed(split, PackedSplit(rows, index, {name: name for name in index.background_names}), source.identity)
    common = {"num_samples": len(source), "size_px": size_px, "seed": 0, "augmenter": augmenter, "with_background": False}
    return PackedSet(source, split, "train", **common)


def open_composed(params: Params, size_px: int) -> ComposedSet:
    composer = make_composer(params, size_px)
    composer.prepare()
    return ComposedSet(
        composer, num_samples=1 << 20, size_px=size_px, seed=0, augmenter=Augmenter(AUGMENT), with_background=False
    )


def make_from_files(folder: Path, size_px: int, num_samples: int) -> None:
    """As a dataset's __getitem__ that opens three files, and a loader that stacks what it returns."""
    geometric, photometric = open_pipelines()
    for start in range(1, num_samples + 1, BATCH):
        samples = []
        for number in range(start, start + BATCH):
            image, mask, depth = (
                np.array(Image.open(folder / f"{name}{number:06d}.jpg").resize((size_px, size_px)))
                for name in ("images/fgbg", "masks/mask", "depth/fgbg")
            )
            moved = geometric(image=image, mask=mask, depth=depth)
            moved["image"] = photometric(image=moved["image"])["image"]
            samples.append([to_tensor(moved[name]) for name in ("image", "mask", "depth")])
        for maps in zip(*samples, strict=True):
            torch.stack(maps)


def make_one_by_one(samples: PackedSet, num_samples: int) -> None:
    """Rows of the store through albumentations."""
    geometric, photometric = open_pipelines()
    for start in range(0, num_samples, BATCH):
        made = []
        for index in range(start, start + BATCH):
            row = samples[[(0, index)]]
            moved = geometric(image=row.image[0], mask=row.mask[0], depth=row.depth[0], valid=row.valid[0].view(np.uint8))
            moved["image"] = photometric(image=moved["image"])["image"]
            made.append([to_tensor(moved["image"]), *(torch.from_numpy(moved[name]) for name in ("mask", "depth", "valid"))])
        for maps in zip(*made, strict=True):
            torch.stack(maps)


def make_batches(samples: SampleSet, epoch: int, num_samples: int) -> None:
    """What the training loop does."""
    for start in range(0, num_samples, BATCH):
        samples[[(epoch, index) for index in range(start, start + BATCH)]].to("cpu", channels_last=True)


@cache
def open_pipelines() -> tuple[A.Compose, A.Compose]:
    return make_pipelines(AUGMENT)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Bytes to floats 0..1, channels first."""
    return torch.from_numpy(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).float() / 255


if __name__ == "__main__":
    main()
