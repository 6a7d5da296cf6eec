"""`depthmask predict` of clips: masks and depth as videos."""

from __future__ import annotations

import argparse
import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.paths import find_fault_of_file, is_folder, resolve_path, show_path
from depthmask.base.terminal import count, note, print_error_line
from depthmask.commands.predicting import MODEL, claim_process, describe_call, hold_index, read_prediction_options, validate_out
from depthmask.serving.selection import Selected
from depthmask.video.names import MEDIAN, SUFFIXES, is_clip, parse_span

if TYPE_CHECKING:
    from depthmask.serving.each_photo import Models
    from depthmask.video.running import Background, Options

WRITTEN = ("mask", "depth", "side_by_side", "cutout")
CUTOUTS = ("prores", "ffv1")
PHOTO_OPTIONS = ("pointcloud", "pointcloud_apart", "pointcloud_side_px", "field_of_view_deg")
SMOOTH_DEFAULT_S, SMOOTH_MAX_S = 0.5, 60.0

DESCRIPTION = """\
CLIPS (.mp4, .mov, .mkv, .webm, .avi, ...) are predicted frame by frame; each is named, or matched by a glob. clip.mp4 gets
  clip_mask.mp4          8-bit grey, lossless (FFV1): as of photos
  clip_depth.mp4         16-bit grey, lossless (FFV1): depth / max x 65535; unit and max are in predictions.json and in the file
  clip_side_by_side.mp4  photo, mask, cut-out and depth in colours, for viewing (H.264), with the clip's sound
  clip_cutout.mov        the clip with the mask as alpha (ProRes 4444)
  clip_frames.csv        the time of each frame
Frames keep their times and are turned upright. A killed run resumes when the same command is run again.
"""


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only clips have."""
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--background-span",
        metavar="START-END",
        help="the clean background is the median of this part of the clip, in which nobody is in view: 0:03-0:05;"
        f" --background {MEDIAN}: of the whole clip",
    )
    group.add_argument(
        "--smooth",
        nargs="?",
        type=_read_seconds,
        const=SMOOTH_DEFAULT_S,
        metavar="SECONDS",
        help="steady the maps where the picture stands still, with this time constant (%(const)s)",
    )
    group.add_argument(
        "--write", type=_read_kinds, default=WRITTEN, metavar="KIND,...", help=f"which videos to write ({','.join(WRITTEN)})"
    )
    group.add_argument(
        "--cutout-codec", choices=CUTOUTS, default=CUTOUTS[0], help="ffv1: lossless, four times as fast, as .mp4 (%(default)s)"
    )
    group.add_argument("--skip-damaged", action="store_true", help="leave damaged frames out instead of stopping")


def reject_clip_options(args: argparse.Namespace) -> None:
    """Raise UserError if photos are predicted with an option that only clips have."""
    given = {
        "--background-span": args.background_span is not None,
        "--smooth": args.smooth is not None,
        "--write": args.write != WRITTEN,
        "--cutout-codec": args.cutout_codec != CUTOUTS[0],
        "--skip-damaged": args.skip_damaged,
        f"--background {MEDIAN}": args.background == Path(MEDIAN),
    }
    for option, is_given in given.items():
        if is_given:
            raise UserError(f"{option}: is for clips ({', '.join(SUFFIXES[:4])}, ...), but photos are named; remove it")


def note_clips_in_folders(arguments: Sequence[str]) -> None:
    """Say that clips in the folders that a command names are not predicted."""
    for folder in filter(is_folder, map(Path, arguments)):
        with contextlib.suppress(OSError):  # reported where its photos are looked for
            clips = sorted(path for path in folder.iterdir() if is_clip(path) and path.is_file())
            if clips:
                skipped = f"{count(len(clips), 'clip')} {'is' if len(clips) == 1 else 'are'} skipped"
                note(f"{show_path(folder)}: {skipped}; name clips themselves, such as {show_path(clips[0])}, or quote a glob")


def predict_clips(args: argparse.Namespace, selected: Sequence[Selected]) -> int:
    """Predict the clips that a command names; returns its exit code. args: of `depthmask predict`."""
    _require_clips_only(args, selected)
    for name in PHOTO_OPTIONS:
        if getattr(args, name) is not None and getattr(args, name) is not False:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: is for photos, but a clip is named; remove it, or predict frames of the clip as photos")
    span = None
    if args.background_span is not None:
        if args.background is not None:
            raise UserError("--background-span: the background cannot be given by --background too; remove one of them")
        try:
            span = parse_span(args.background_span)
        except UserError as error:
            raise UserError(f"--background-span: {error}") from error
    validate_out(args.out)
    from depthmask.data.images import silence_pillow
    from depthmask.video.clip import import_av

    import_av()  # before torch, which takes seconds to load
    silence_pillow()
    claim_process(args.threads)
    from depthmask.hub.fetching import find_model, name_origins
    from depthmask.serving.models_of_call import note_time
    from depthmask.video.running import Background, Options, name_results
    from depthmask.video.writing import choose_kinds

    kinds = choose_kinds((*args.write, *(["cutout"] if args.cutout else [])), args.cutout_codec)
    _validate_not_overwriting(args, selected, [file for one in selected for file in name_results(one.out, kinds).values()])
    is_median = args.background == Path(MEDIAN)
    shared = Background(None if is_median else args.background, is_median, span)
    backgrounds = [shared if shared.is_given else Background(one.background) for one in selected]
    named = [find_model(one) for one in args.model or ()]
    models = _load(args, [one.path for one in named], backgrounds, shared, selected)
    note_time(models, args.device, args.flip)
    index = name_origins(describe_call(args, models), named)
    deciding = {name: getattr(args, name) for name in ("ensemble", "flip", "size_px", "mask_size_px")}
    deciding["engines"] = models.engines
    options = Options(kinds, index["depth"], args.smooth, args.hard, args.batch_size, args.skip_damaged, deciding)
    results: dict[str, list[dict]] = {"clips": [], "failed": []}
    with hold_index(args.out, selected) as write_index:
        try:
            bug = _predict_each(models, selected, backgrounds, options, results)
        except Interrupted as error:
            bug = error
        write_index(index | results)
    if bug is not None:
        raise bug
    failed = f", {len(results['failed'])} not" if results["failed"] else ""
    print(f"{show_path(args.out)}: {count(len(results['clips']), 'clip')} predicted{failed}")
    return 1 if results["failed"] else 0


def _predict_each(
    models: Models, selected: Sequence[Selected], backgrounds: Sequence[Background], options: Options, results: dict[str, list]
) -> Exception | None:
    """Predict clip by clip; one that fails is a line, and the others are predicted. Returns a fault of the program, if any."""
    from depthmask.serving.each_photo import explain, is_bug
    from depthmask.video.running import predict_clip

    bug: Exception | None = None
    for number, (one, background) in enumerate(zip(selected, backgrounds, strict=True)):
        try:
            entry = predict_clip(models, one.path, one.out, background, options, note)
        except Interrupted:
            raise
        except Exception as error:
            reason = show_path(explain(one.path, error))
            print_error_line(reason)
            results["failed"].append({"clip": show_path(one.path), "error": reason})
            bug = bug or (error if is_bug(error) else None)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                rest = selected[number + 1 :]
                results["failed"] += [{"clip": show_path(other.path), "error": f"not tried: {reason}"} for other in rest]
                break
        else:
            results["clips"].append(entry)
    return bug


def _load(
    args: argparse.Namespace,
    named: Sequence[Path],
    backgrounds: Sequence[Background],
    shared: Background,
    selected: Sequence[Selected],
) -> Models:
    from depthmask.serving.models_of_call import check_backgrounds, load_models

    options = read_prediction_options(args)
    given = [Path() if background.is_given else None for background in backgrounds]
    models = load_models(named or None, MODEL, args.ensemble, given, options)
    check_backgrounds(models, shared.picture, [] if shared.is_given else selected)
    if True not in models.predictors and (shared.median or shared.span):
        option = f"--background {MEDIAN}" if shared.median else "--background-span"
        files = ", ".join(show_path(path) for paths in models.paths.values() for path in paths)
        raise UserError(f"{option}: {files} {'takes' if ',' not in files else 'take'} the image only; remove {option}")
    return models


def _require_clips_only(args: argparse.Namespace, selected: Sequence[Selected]) -> None:
    others = [one for one in selected if not is_clip(one.path)]
    if others:
        first = next(one for one in selected if is_clip(one.path))
        raise UserError(f"{show_path(first.path)} and {show_path(others[0].path)}: a clip and a photo; predict them in two calls")
    for one in selected[:1]:
        fault = find_fault_of_file(one.path) if len(selected) == 1 else None
        if fault is not None:
            raise UserError(f"{show_path(one.path)}: {fault}")


def _validate_not_overwriting(args: argparse.Namespace, selected: Sequence[Selected], outputs: Sequence[Path]) -> None:
    named = {resolve_path(path) for one in selected for path in (one.path, one.background) if path is not None}
    named |= set() if args.background is None else {resolve_path(args.background)}
    for output in outputs:
        if resolve_path(output) in named:
            raise UserError(f"{show_path(output)}: is an input of this call and would be overwritten; choose another --out")


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 < seconds <= SMOOTH_MAX_S:
        return seconds
    raise argparse.ArgumentTypeError(f"{text[:40]}; allowed: a number of seconds above 0, up to {SMOOTH_MAX_S:.0f}")


def _read_kinds(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in WRITTEN]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0][:40]!r}; allowed: {', '.join(WRITTEN)}, separated by commas")
    return names
