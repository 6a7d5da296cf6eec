"""`depthmask show`: writes a contact sheet of training samples, or of the images in the source."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import replace_file
from depthmask.data_report.painting import fit_square, paint_background, paint_cutout
from depthmask.evaluation.sample_pictures import paint_truth
from depthmask.loading.dataset import SampleSet, open_samples
from depthmask.loading.split_files import PARTS, read_weights
from depthmask.params import DownloadParams, Params, load_params
from depthmask.params.mixture import list_sources
from depthmask.pictures.grids import draw_grid
from depthmask.registry.sources import SOURCES
from depthmask.sources import RECORD, Source, find_source_class, open_source, read_record
from depthmask.sources.folders import choose_data
from depthmask.sources.layout import choose_spread

CAPTIONS = {"image": "photo", "mask": "mask", "depth": "depth, near is yellow"}
CLEAN = {"background": "clean background"}
LOWEST, HIGHEST = 1, 200  # limits of --num: longer sheets are too long for most viewers
RAW, MORE, SPLIT = Path("data/raw"), Path("data/raw_more"), Path("data/split")
SIDES_PX, EPOCH_MAX = (8, 2048), 1_000_000

Row = tuple[str, Mapping[str, np.ndarray]]  # a title and the images


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    _validate_options(args)
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out {args.out}: contact sheets are PNG; use the suffix .png")
    if not LOWEST <= args.num <= HIGHEST:
        raise UserError(f"--num {args.num}: allowed: {LOWEST} to {HIGHEST}")
    if args.size is not None and not SIDES_PX[0] <= args.size <= SIDES_PX[1]:
        raise UserError(f"--size {args.size}: allowed: {SIDES_PX[0]} to {SIDES_PX[1]}")
    if not 0 <= args.epoch <= EPOCH_MAX:
        raise UserError(f"--epoch {args.epoch}: allowed: 0 to {EPOCH_MAX}")
    params = load_params(args.params)
    if args.source:
        rows = list(show_sources(args, params))
        captions = CAPTIONS
    else:
        samples = open_part(args, params)
        rows = list(show_samples(samples, args.num, args.epoch))
        captions = CAPTIONS | (CLEAN if "background" in rows[0][1] else {})
    titles, pictures = [title for title, _ in rows], [row for _, row in rows]
    with replace_file(args.out) as temporary:
        draw_grid(pictures, titles, captions).save(temporary, format="PNG")
    what = "images of the source" if args.source else f"{args.part} samples"
    print(f"{args.out}: {len(rows)} {what}, photo, mask and depth")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="depthmask show", description=__doc__)
    parser.add_argument("--part", choices=PARTS, default="train", help="part of the split (train)")
    parser.add_argument(
        "--source", action="store_true", help="show the source: backgrounds and cut-outs, or pre-composited samples"
    )
    parser.add_argument("--augment", action="store_true", help="augment the samples as in training")
    parser.add_argument("--num", type=int, default=12, help=f"number of rows, {LOWEST} to {HIGHEST} (12)")
    parser.add_argument("--epoch", type=int, default=0, help="training epoch: each has its own composites and augmentations (0)")
    parser.add_argument("--size", type=int, help="image size in pixels (evaluate.image_size_px)")
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--raw", type=Path, help=f"folder written by the download stage ({RAW})")
    parser.add_argument("--store", type=Path, default=Path("data/store"), help="folder written by the pack stage (data/store)")
    parser.add_argument("--more", type=Path, default=MORE, help=f"folder of the download_more stages ({MORE})")
    parser.add_argument("--split", type=Path, default=SPLIT, help=f"folder written by the split stage ({SPLIT})")
    parser.add_argument("--parts", help=argparse.SUPPRESS)  # the former name of --split
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    return parser.parse_args(argv)


def _validate_options(args: argparse.Namespace) -> None:
    """Reject the former names: --split was the part, --parts the folder."""
    if str(args.split) in PARTS and not args.split.is_dir():
        raise UserError(f"--split {args.split}: is now the folder of the split; use --part {args.split}")
    if args.parts is not None:
        raise UserError(f"--parts {args.parts}: use --split {args.parts}")


def open_part(args: argparse.Namespace, params: Params) -> SampleSet:
    """Open the samples of a part; each is read on demand.

    Raises:
        UserError: download or split has not been run.
    """
    return open_samples(
        choose_data(args.raw or RAW, args.store, args.more, list(read_weights(args.split))),
        args.split,
        args.part,
        image_size_px=args.size or params.evaluate.image_size_px,
        compose=params.compose,
        seed=params.seed if args.part == "train" else params.split_seed,
        num_samples=args.num,
        augment=params.augment if args.augment else None,
        with_background=params.model.background_input,
        prepare=False,
    )


def show_sources(args: argparse.Namespace, params: Params) -> Iterator[Row]:
    """Rows of each source, as many of one as of another; titles begin with its name if there are several."""
    sources, size_px = list_sources(params.download), args.size or params.evaluate.image_size_px
    for number, (name, declared) in enumerate(sources.items()):
        default = RAW if number == 0 else args.more / name
        source = open_raw_or_given(args.raw if number == 0 else None, declared, default)
        for title, pictures in show_source(source, -(-args.num // len(sources)), size_px):
            yield (f"{name}   {title}" if len(sources) > 1 else title), pictures


def open_raw_or_given(raw: Path | None, download: DownloadParams, default: Path = RAW) -> Source:
    """Open `raw`, or the folder in params.yaml if it has not been downloaded yet.

    raw: None: `default`, unless it is from before a change of the source's declaration.

    Raises:
        UserError: neither exists.
    """
    folder, path, layout = raw or default, Path(download.path), download.source
    fetched = read_record(folder, "download")["download"] if (folder / RECORD).is_file() else None
    is_there = fetched is not None and (raw is not None or fetched == download.model_dump())
    if not is_there and path.is_dir() and not download.urls and layout in SOURCES:
        return find_source_class(layout)(path, download)
    return open_source(folder)


def show_samples(samples: SampleSet, number: int, epoch: int) -> Iterator[Row]:
    """Rows of the first samples of a part, as drawn in an epoch."""
    for index in range(min(number, len(samples))):
        batch = samples[[(epoch, index)]]
        (origin,) = batch.origins
        made_of = [origin.kind, origin.cutout and f"cut-out {origin.cutout}", f"background {origin.background}"]
        yield "   ".join([origin.key, *(part for part in made_of if part)]), paint_truth(batch, 0)


def show_source(source: Source, number: int, size_px: int) -> Iterator[Row]:
    """Rows of pre-composited samples if there are any, else half backgrounds and half cut-outs, evenly spaced."""
    if source.composites:
        for origin in choose_spread(source.composites, number):
            pictures = paint_truth(source.read_composite(origin), 0)
            yield origin.key, {name: fit_square(picture, size_px) for name, picture in pictures.items()}
        return
    for key in choose_spread(source.backgrounds, (number + 1) // 2):
        pictures = paint_background(source.read_background(key))
        yield f"background {key}", {name: fit_square(picture, size_px) for name, picture in pictures.items()}
    for key in choose_spread(source.cutouts, number // 2):
        cutout = source.read_cutout(key)
        pictures = paint_cutout(cutout)
        title = f"cut-out {key}   {cutout.kind or ''}"
        yield title, {name: fit_square(picture, size_px) for name, picture in pictures.items()}
