"""`depthmask predict`: predicts masks, depth maps and images of photos with the trained model."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import replace_file
from depthmask.base.paths import (
    NAME_BYTES_MAX,
    is_folder,
    make_result_name,
    show_path,
)
from depthmask.base.terminal import Bar, clean, count, note, print_error_line
from depthmask.commands.predict_clips import DESCRIPTION as CLIPS
from depthmask.commands.predict_clips import add_clip_options, note_clips_in_folders, predict_clips, reject_clip_options
from depthmask.commands.predicting import (
    INDEX,
    MODEL,
    claim_process,
    describe_call,
    hold_index,
    read_prediction_options,
    validate_out,
)
from depthmask.data.formats import describe_unread_photos
from depthmask.hub.address import read_model
from depthmask.serving.limits import COUNT_MAX, ENGINES, THREADS_MAX
from depthmask.serving.selection import BACKGROUND, Selected, read_list, select_photos, validate_not_overwriting
from depthmask.video.names import is_clip

if TYPE_CHECKING:
    from depthmask.serving.each_photo import Loaded, Models
    from depthmask.serving.point_files import PointOptions
    from depthmask.serving.predictor import PhotoPrediction

ENDINGS = {"mask": "_mask.png", "depth": "_depth.png", "side_by_side": "_side_by_side.jpg"}
CUTOUT_ENDING = {"cutout": "_cutout.png"}

DESCRIPTION = f"""\
Predict mask and depth of photos with a trained model.

PHOTOS are files, folders (recursive; results mirror their structure), quoted globs, or - for a list on standard
input, one path per line. EXIF orientation is honoured. For dog.jpg, --out gets
  dog_mask.png          8-bit grey: probability of foreground x 255, usable as alpha; with --hard 255 or 0
  dog_depth.png         16-bit grey: depth / max x 65535, larger is farther; unit and max are in {INDEX} and in the file
  dog_side_by_side.jpg  photo, mask, cut-out and depth in colours, small
  dog_cutout.png        with --cutout: the photo with the mask as alpha
  dog_points.ply        with --pointcloud ply (or glb): the photo as coloured points, in metres where the depth is
at the size of the photo, and {INDEX}, which lists them. Earlier results are overwritten. Beside dog.png, dog.jpg gets
dog.jpg_mask.png and so on. Names that are too long are shortened, with a hash of the whole name.

For a model that takes the clean background, that of dog.jpg is dog{BACKGROUND}.jpg (or .png, .webp) beside it, or --background
for all photos. Whatever its size, the network sees the whole photo reduced to --size-px, because depth can only be judged from
the whole view. A larger --mask-size-px gives finer mask outlines. A photo that cannot be predicted is reported in one line and
listed in {INDEX} with the reason; the others are predicted, and the exit code is 1.
"""


def write_results(
    loaded: Loaded,
    prediction: PhotoPrediction,
    declaration: dict,
    models: Sequence[Path],
    hard: bool,
    endings: Mapping[str, str],
    points: PointOptions | None,
) -> dict:
    """Write all files of a photo, or none, and return its entry for predictions.json; models: the files that predicted it.

    endings: of the files' names, by what they are; points: how those of the point cloud are written, if they are wanted.

    Raises:
        UserError: a folder is in the place of a file.
        OSError: a file cannot be written.
    """
    from depthmask.serving.pictures import save_cutout, save_depth, save_mask, save_side_by_side

    files, path = name_files(loaded.photo, endings), loaded.photo.path
    for file in files.values():
        if is_folder(file):
            raise UserError(f"{file}: is a folder, in the place of a result of {path}; move it away, or choose another --out")
    with contextlib.ExitStack() as whole:
        parts = {name: whole.enter_context(replace_file(file)) for name, file in files.items()}
        save_mask(parts["mask"], prediction.mask, hard)
        save_depth(parts["depth"], prediction, declaration)
        save_side_by_side(parts["side_by_side"], loaded.image, prediction, clean(show_path(path.name)))
        if "cutout" in parts:
            save_cutout(parts["cutout"], loaded.image, prediction.mask, hard)
        described = {} if points is None else {"points": points.save(parts, loaded.image, prediction)}
    height, width = prediction.mask.shape
    return {
        "photo": show_path(path),
        **({"model": show_path(models[0])} if len(models) == 1 else {"models": [show_path(model) for model in models]}),
        "background": None if loaded.background is None else show_path(loaded.background),
        "size_px": [width, height],
        "network_size_px": list(prediction.network_size_px),
        "mask_network_size_px": list(prediction.mask_network_size_px),
        **described,
        "files": {name: show_path(file.as_posix()) for name, file in files.items()},
    }


def name_files(photo: Selected, endings: Mapping[str, str]) -> dict[str, Path]:
    """The files written for a photo, by the endings of their names. A long name is shortened until all of them fit."""
    start = make_result_name(photo.out.name, NAME_BYTES_MAX - max(map(len, endings.values())), any_bytes=True)
    return {name: photo.out.with_name(start + ending) for name, ending in endings.items()}


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    note_clips_in_folders(args.photos)
    unread: list[str] = []
    photos = select_photos(args.photos, read_list(sys.stdin), args.out, args.background, unread)
    if unread:
        note(describe_unread_photos(unread))
    if any(is_clip(photo.path) for photo in photos):
        return predict_clips(args, photos)
    reject_clip_options(args)
    from depthmask.serving.point_files import choose_options

    points = choose_options(args.pointcloud, args.pointcloud_apart, args.field_of_view_deg, args.pointcloud_side_px)
    endings = ENDINGS | (CUTOUT_ENDING if args.cutout else {}) | ({} if points is None else points.endings)
    validate_not_overwriting(photos, [args.out / INDEX, *(path for one in photos for path in name_files(one, endings).values())])
    validate_out(args.out)
    # late: --help and argument errors do not wait for torch
    from depthmask.data.images import silence_pillow

    silence_pillow()
    claim_process(args.threads)
    from depthmask.hub.fetching import find_model, name_origins
    from depthmask.serving.models_of_call import check_backgrounds, load_models, note_time

    options = read_prediction_options(args)
    backgrounds = [args.background or photo.background for photo in photos]
    named = [find_model(one) for one in args.model or ()]
    models = load_models([one.path for one in named] or None, MODEL, args.ensemble, backgrounds, options)
    check_backgrounds(models, args.background, photos)
    note_time(models, args.device, args.flip)
    line = None if points is None else points.find_note(models.predictors.values())
    if line is not None:
        note(line)
    done = Done(len(photos))
    index = name_origins(describe_call(args, models), named)
    with hold_index(args.out, photos) as write_index:
        stopped = None
        try:
            _predict_all(args, models, photos, index["depth"], endings, points, done)
        except KeyboardInterrupt:
            kept = f"{len(done.entries)} of {len(photos)} photos are done; rerun to start over"
            stopped = Interrupted.by_signal(show_path(args.out), kept)
        except Exception as error:  # a bug: still report what was predicted until then
            stopped = error
        stopped = stopped or next(iter(done.bugs), None)
        write_index(index | {"photos": done.entries, "failed": done.failed})
    if stopped is not None:
        raise stopped
    failed = f", {len(done.failed)} not" if done.failed else ""
    print(f"{show_path(args.out)}: {count(len(done.entries), 'photo')} predicted{failed}")
    return 1 if done.failed else 0


@dataclass
class Done:
    """The outcome of a call: entries for predictions.json of predicted and failed photos, and faults of the program."""

    num_photos: int
    entries: list[dict] = field(default_factory=list)
    failed: list[dict] = field(default_factory=list)
    bugs: list[Exception] = field(default_factory=list)

    def add_failure(self, photo: Selected, reason: str) -> None:
        self.failed.append({"photo": show_path(photo.path), "error": reason})


def _predict_all(
    args: argparse.Namespace,
    models: Models,
    photos: Sequence[Selected],
    depth: dict,
    endings: Mapping[str, str],
    points: PointOptions | None,
    done: Done,
) -> None:
    from depthmask.compute.memory import bound_memory
    from depthmask.serving.each_photo import explain, is_bug, predict_photos

    predictions = predict_photos(
        models, photos, args.background, min(args.batch_size, models.batch_max), print_error_line, done.bugs
    )
    with Bar("predicting", "photos", len(photos), with_lines=False) as bar:
        for loaded, prediction in bound_memory(predictions):
            if isinstance(prediction, str):
                done.add_failure(loaded, prediction)
            else:
                try:
                    paths = models.paths[loaded.predictor.background_input]
                    done.entries.append(write_results(loaded, prediction, depth, paths, args.hard, endings, points))
                except Exception as error:
                    reason = show_path(explain(loaded.photo.path, error))
                    print_error_line(reason)
                    done.add_failure(loaded.photo, reason)
                    done.bugs += [error] if is_bug(error) else []
                    _remove_empty_folders(args.out, loaded.photo.out.parent)
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        _give_up(photos, done, reason)
                        return
            bar.advance()


def _give_up(photos: Sequence[Selected], done: Done, reason: str) -> None:
    """Mark the remaining photos as failed: they would fail for the same reason."""
    tried = {entry["photo"] for entry in (*done.entries, *done.failed)}
    for photo in photos:
        if show_path(photo.path) not in tried:
            done.add_failure(photo, f"not tried: {reason}")


def _remove_empty_folders(out: Path, folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or missing
        while folder != out and out in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask predict", description=f"{DESCRIPTION}\n{CLIPS}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="files, folders of photos, quoted globs, or -")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results; created if missing")
    parser.add_argument(
        "--model",
        type=read_model,
        action="append",
        metavar="FILE",
        help="model file, or hf://OWNER/NAME@REVISION on the Hugging Face Hub; several: those that take the clean background"
        " predict the photos that have one, the rest the others,"
        f" averaged if there is more than one ({MODEL}; if there is none, those that come with depthmask)",
    )
    parser.add_argument("--ensemble", action="store_true", help="average all models named, for every photo")
    parser.add_argument("--background", type=Path, metavar="FILE", help="clean background of all photos (fixed camera)")
    parser.add_argument("--cutout", action="store_true", help="also write the photo with the mask as alpha")
    parser.add_argument("--pointcloud", choices=("ply", "glb"), help="also write the photo as coloured points in space")
    parser.add_argument(
        "--pointcloud-apart", action="store_true", help="foreground and scene in files of their own, dog_foreground and dog_scene"
    )
    parser.add_argument(
        "--pointcloud-side-px", type=_read_count, metavar="N", help="pixels of the longest side that become points (640)"
    )
    parser.add_argument("--hard", action="store_true", help="binary masks (0 and 255), with a threshold of 0.5")
    parser.add_argument("--batch-size", type=_read_count, default=8, metavar="N", help="photos at once (%(default)s)")
    add_prediction_options(parser)
    add_clip_options(parser)
    return parser.parse_args(argv)


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the commands that predict photos: sizes, flip, camera, device, engine and threads."""
    parser.add_argument("--flip", action="store_true", help="average with the prediction of the mirrored photo; twice as slow")
    parser.add_argument("--size-px", type=_read_count, metavar="N", help="longest side seen by the network (its training size)")
    parser.add_argument(
        "--mask-size-px", type=_read_count, metavar="N", help="the same for the mask, in a second pass (--size-px)"
    )
    parser.add_argument(
        "--field-of-view-deg",
        type=float,
        metavar="DEG",
        help="of the camera, across the photo's longer side, for points (the one that the model was trained for)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="(%(default)s)")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what computes on a CPU; auto: openvino if it is installed (%(default)s)",
    )
    parser.add_argument("--threads", type=_read_threads, metavar="N", help="CPU threads (torch's default)")


def _read_threads(text: str) -> int:
    return _read_count(text, THREADS_MAX)


def _read_count(text: str, most: int = COUNT_MAX) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= most:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]}; allowed: a whole number from 1 to {most}")
