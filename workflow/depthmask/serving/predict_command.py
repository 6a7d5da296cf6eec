"""`depthmask predict`: photos to masks, depth maps and pictures, with the trained model."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from depthmask.errors import Interrupted, UserError, print_errors_as_lines
from depthmask.files import hash_file, write_json
from depthmask.serving.selection import BACKGROUND, Selected, refuse_overwriting, select_photos
from depthmask.terminal import Bar, note, tell_error

if TYPE_CHECKING:
    from depthmask.serving.predictor import PhotoPrediction, Predictor, Shrunk

MODEL = Path("data/models/finetune.safetensors")
INDEX = "predictions.json"
WAITING_PIXELS_MAX = 50_000_000  # photos of more pixels than these together do not wait for others of their size

DESCRIPTION = f"""\
Predict mask and depth of photos with a trained model.

PHOTOS are files, folders (with all that is below them; results are mirrored), quoted globs, or - for a list on
standard input, a path a line. EXIF orientation is honoured. Of dog.jpg, --out gets
  dog_mask.png          8-bit grey: probability of foreground x 255, to be used as alpha; with --hard 255 or 0
  dog_depth.png         16-bit grey: depth / max x 65535, larger is farther; unit and max stand in {INDEX} and in the file
  dog_side_by_side.jpg  photo, mask, cut-out and depth in colours, small
  dog_cutout.png        with --cutout: the photo with the mask as alpha
in the photo's size, and {INDEX}. Results of an earlier call are overwritten.

A model that takes the bare background too finds that of dog.jpg in dog{BACKGROUND}.jpg (or .png, .webp) beside it, or in
--background for all photos. Whatever a photo's size, the network sees the whole of it reduced to --size-px: depth can only be
told from the whole view. A larger --mask-size-px gives masks of finer outline. A photo that cannot be predicted is a line; the
others go on, and the exit code is 1.
"""


@dataclass(frozen=True)
class Loaded:
    """A photo that was read: its background's file, its pixels (uint8, height x width x 3), and both in the network's size."""

    photo: Selected
    background: Path | None
    image: np.ndarray
    shrunk: Shrunk


def predict_photos(
    predictor: Predictor, photos: Sequence[Selected], background: Path | None, batch_size: int, tell: Callable[[str], None]
) -> Iterator[tuple[Loaded | Selected, PhotoPrediction | str]]:
    """Each photo with its prediction, or with why there is none, which `tell` is told too; in order but for the failures.

    Neighbours that the network sees in one size are predicted together, at most batch_size.
    """
    waiting: list[Loaded] = []

    def predict_waiting():
        yield from zip(waiting, predictor.predict_shrunk([loaded.shrunk for loaded in waiting]))
        waiting.clear()

    for photo in photos:
        try:
            loaded = _load(predictor, photo, background)
        except (UserError, PermissionError) as error:
            reason = str(error) if isinstance(error, UserError) else f"{error.filename}: permission denied"
            tell(reason)
            yield photo, reason
            continue
        num_pixels = sum(other.image.size // 3 for other in (*waiting, loaded))
        if waiting and (loaded.shrunk.sizes != waiting[0].shrunk.sizes or num_pixels > WAITING_PIXELS_MAX):
            yield from predict_waiting()
        waiting.append(loaded)
        if len(waiting) == batch_size:
            yield from predict_waiting()
    yield from predict_waiting()


def _load(predictor: Predictor, photo: Selected, shared_background: Path | None) -> Loaded:
    from depthmask.sources.images import read_photo

    image = read_photo(photo.path)  # first: a photo that is not there lacks more than its background
    background = (shared_background or photo.background) if predictor.background_input else None
    if predictor.background_input and background is None:
        raise UserError(
            f"{photo.path}: the model takes the bare background too; add {photo.path.stem}{BACKGROUND}.jpg beside it,"
            " or name one with --background"
        )
    return Loaded(photo, background, image, predictor.shrink(image, background))


def write_results(loaded: Loaded, prediction: PhotoPrediction, declaration: dict, hard: bool, cutout: bool) -> dict:
    """Write the files of a photo and return its entry in predictions.json."""
    from depthmask.serving.pictures import save_cutout, save_depth, save_mask, save_side_by_side

    files = name_files(loaded.photo, cutout)
    save_mask(files["mask"], prediction.mask, hard)
    save_depth(files["depth"], prediction, declaration)
    save_side_by_side(files["side_by_side"], loaded.image, prediction, loaded.photo.path.name)
    if cutout:
        save_cutout(files["cutout"], loaded.image, prediction.mask, hard)
    height, width = prediction.mask.shape
    return {
        "photo": str(loaded.photo.path),
        "background": None if loaded.background is None else str(loaded.background),
        "size_px": [width, height],
        "network_size_px": list(prediction.network_size_px),
        "mask_network_size_px": list(prediction.mask_network_size_px),
        "files": {name: path.as_posix() for name, path in files.items()},
    }


def name_files(photo: Selected, cutout: bool) -> dict[str, Path]:
    """The files that are written for a photo; cutout: with the cut-out."""
    endings = {"mask": "mask.png", "depth": "depth.png", "side_by_side": "side_by_side.jpg"}
    endings |= {"cutout": "cutout.png"} if cutout else {}
    return {name: photo.out.with_name(f"{photo.out.name}_{ending}") for name, ending in endings.items()}


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    photos = select_photos(args.photos, sys.stdin, args.out, args.background)
    refuse_overwriting(
        photos, [args.out / INDEX, *(path for photo in photos for path in name_files(photo, args.cutout).values())]
    )
    # late: neither --help nor a mistake in the arguments has to wait for torch
    from depthmask.serving.pictures import declare_depth
    from depthmask.serving.predictor import load

    predictor = load(args.model, args.device, args.size_px, args.mask_size_px, args.threads)
    _check_backgrounds(predictor.background_input, args.background, photos, args.model)
    declaration = declare_depth(predictor.card)
    entries, failed = [], []
    with Bar("predicting", "photos", len(photos), with_lines=False) as bar:
        answers = predict_photos(predictor, photos, args.background, args.batch_size, tell_error)
        try:
            for loaded, prediction in answers:
                if isinstance(prediction, str):
                    failed.append({"photo": str(loaded.path), "error": prediction})
                else:
                    entries.append(write_results(loaded, prediction, declaration, args.hard, args.cutout))
                bar.advance()
        except KeyboardInterrupt:
            kept = f"{len(entries)} of {len(photos)} photos are done, the same command begins again"
            raise Interrupted.by_ctrl_c(str(args.out), kept) from None
        finally:  # also for what was done before it was stopped
            _write_index(args, predictor, declaration, entries, failed)
    print(f"{args.out}: {len(entries)} photos predicted" + (f", {len(failed)} not" if failed else ""))
    return 1 if failed else 0


def _check_backgrounds(wanted: bool, shared: Path | None, photos: Sequence[Selected], model: Path) -> None:
    """A background that the model cannot use is refused where it was asked for, and told of where it lies beside."""
    if wanted and shared is not None and not shared.is_file():
        raise UserError(f"--background {shared}: no such file")
    if not wanted and shared is not None:
        raise UserError(f"--background {shared}: {model} takes the picture alone; leave --background out")
    unused = [photo for photo in photos if photo.background is not None and (not wanted or shared is not None)]
    if unused:
        why = f"--background {shared} stands for all" if wanted else f"{model} takes the picture alone"
        note(f"{len(unused)} backgrounds beside photos are not used: {why}")


def _write_index(args: argparse.Namespace, predictor: Predictor, declaration: dict, entries: list, failed: list) -> None:
    write_json(
        args.out / INDEX,
        {
            "model": {
                "file": str(args.model),
                "sha256": hash_file(args.model),
                "network": predictor.card.settings["name"],
                "background_input": predictor.background_input,
                "size_px": predictor.size_px,
                "mask_size_px": predictor.mask_size_px,
            },
            "mask": {"kind": "hard" if args.hard else "alpha", "raw_max": 255},
            "depth": declaration,
            "photos": entries,
            "failed": failed,
        },
    )


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask predict", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="files, folders, quoted globs, or -")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results; made if missing")
    parser.add_argument("--model", type=Path, default=MODEL, help="model file (%(default)s)")
    parser.add_argument("--background", type=Path, metavar="FILE", help="the bare background of all photos (fixed camera)")
    parser.add_argument("--cutout", action="store_true", help="also write the photo with the mask as alpha")
    parser.add_argument("--hard", action="store_true", help="masks of 0 and 255, cut at a probability of 0.5")
    parser.add_argument(
        "--size-px", type=_read_count, metavar="N", help="longest side that the network sees (the one it was trained at)"
    )
    parser.add_argument(
        "--mask-size-px", type=_read_count, metavar="N", help="the same for the mask, in a second look (--size-px)"
    )
    parser.add_argument("--batch-size", type=_read_count, default=8, metavar="N", help="photos at once (%(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="(%(default)s)")
    parser.add_argument("--threads", type=_read_count, metavar="N", help="CPU threads (torch's own choice)")
    return parser.parse_args(argv)


def _read_count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= 16384:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text}; allowed: a whole number from 1 to 16384")
