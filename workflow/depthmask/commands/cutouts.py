"""`depthmask cutouts`: cut-outs and backgrounds from annotated photos, ready for `download.source: assets`."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import ParamsError, UserError
from depthmask.base.paths import SURROGATES, show_path
from depthmask.base.terminal import CONTROL, clean, warn
from depthmask.cutouts.folders import PictureFolder, match_stems, require_file, require_folder
from depthmask.cutouts.formats import FORMATS, Request, find_reader
from depthmask.cutouts.naming import name_pictures
from depthmask.cutouts.objects import UNREADABLE, DrawnObjects, Picture, Problem, Reading
from depthmask.cutouts.palette import Palette, read_palette
from depthmask.cutouts.plan import Filters, Plan, Task
from depthmask.cutouts.printing import print_next_steps, print_summary
from depthmask.cutouts.results import summarize, write_pack, write_record
from depthmask.cutouts.running import Job, run
from depthmask.cutouts.sheet import write_sheet
from depthmask.cutouts.sizes import Optics
from depthmask.cutouts.workplace import Workplace
from depthmask.data.formats import DEPTH_SUFFIXES
from depthmask.execution.speed_options import PROCESSES_MAX, read_num_processes
from depthmask.params import DepthParams
from depthmask.params.plain_yaml import parse_yaml
from depthmask.params.reading import fit_schema
from depthmask.sources.layout import choose_spread

VERSION = 1  # to be raised when the same options and files give another result
PIXELS_MAX, FEATHER_MAX_PX, METRES_MAX, FOCAL_MAX_PX = 100_000, 100, 1e4, 1e6
DEGREES = (1, 170)
EPILOG = "formats:\n" + "\n".join(f"  {name:<11} {does}" for name, does in FORMATS.items())


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    _validate_paths(args)
    _validate_numbers(args)
    plan = _make_plan(args)
    request = _make_request(args)
    reading = find_reader(args.format)(request)
    _drop_unwritable(reading)
    _validate_kinds(args, reading)
    job = _make_job(args, plan, reading)
    settings = _list_settings(args, plan.filters, request.palette)
    workplace = Workplace(args.out, settings, [task.base for task in job.tasks])
    outcome = run(job, workplace, args.workers or read_num_processes(), args.replace)
    summary = summarize(outcome.results, reading)
    write_pack(args.out / "pack.json", outcome.results, job.tasks, plan)
    write_record(args.out / "cutouts.json", settings, summary, outcome.results, reading)
    write_sheet(args.out / "cutouts.html", args.out, summary, outcome.results, job.pictures, job.tasks)
    print_summary(args.out, summary, reading, outcome.num_resumed)
    if not summary.num_cutouts:
        raise UserError(f"--out {args.out}: no object was kept; the reasons are above and in {args.out / 'cutouts.html'}")
    print_next_steps(args.out, summary, plan)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask cutouts", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help="what the annotations are: see below")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: fg/, bg/, pack.json, cutouts.html")
    given = parser.add_argument_group("what there is")
    given.add_argument("--annotations", type=Path, help="file or folder of annotations")
    given.add_argument("--images", type=Path, help="folder that contains the pictures, at any depth")
    given.add_argument("--palette", type=Path, help="CSV or JSON file: names of the values or colours of label pictures")
    given.add_argument("--instance-divisor", type=int, default=1000, help="cityscapes: class * this + instance (1000)")
    given.add_argument("--invert", action="store_true", help="masks: black is the object")
    given.add_argument("--kind", help="masks, rgba: the kind of all objects")
    given.add_argument("--segmenter", type=Path, help="network: local folder of a transformers segmentation model")
    given.add_argument("--device", default="cpu", help="network: cpu, cuda or mps (cpu)")
    given.add_argument("--score-min", type=float, default=0.5, help="network: least score of an object, 0 to 1 (0.5)")
    given.add_argument("--backgrounds-from", type=Path, metavar="FOLDER", help="photos that are backgrounds as they are")
    given.add_argument("--licence", help="licence of all pictures for which the annotation has none")
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--kinds", nargs="+", default=[], metavar="KIND", help="only these kinds; case does not matter")
    kept.add_argument("--not-kinds", nargs="+", default=[], metavar="KIND", help="all kinds but these")
    kept.add_argument("--min-side", type=int, default=32, metavar="PX", help="least side of a cut-out (32)")
    kept.add_argument("--min-area", type=int, default=1024, metavar="PX", help="least number of its visible pixels (1024)")
    kept.add_argument("--min-background-side", type=int, default=128, metavar="PX", help="least side of a background (128)")
    kept.add_argument("--frame-margin", type=int, default=2, metavar="PX", help="nearer to the frame counts as cut by it (2)")
    kept.add_argument("--allow-cut", action="store_true", help="keep objects that are cut by the frame")
    kept.add_argument("--allow-occluded", action="store_true", help="cvat: keep objects that are marked as occluded")
    kept.add_argument(
        "--backgrounds",
        choices=("without-wanted", "without-objects", "none"),
        default="without-wanted",
        help="pictures that become backgrounds: without an object of the wanted kinds, without any object, or none",
    )
    kept.add_argument("--num-pictures", type=int, metavar="N", help="read only so many pictures, evenly spaced")
    made = parser.add_argument_group("how it is written")
    made.add_argument(
        "--one-per", choices=("object", "kind", "picture"), default="object", help="a cut-out for each object, or joined (object)"
    )
    made.add_argument("--feather", type=float, default=2.0, metavar="PX", help="width of the soft edge of hard masks (2)")
    made.add_argument("--group", metavar="REGEX", help="part of the pictures' names that begins the names of their files")
    sized = parser.add_argument_group("sizes in metres")
    sized.add_argument("--depth", type=Path, metavar="FOLDER", help="depth maps, named as the pictures")
    sized.add_argument("--depth-format", metavar="YAML", help="as download.depth: {unit: metre, polarity: ..., max: ..., ...}")
    sized.add_argument("--field-of-view-deg", type=float, help="of all pictures, across the longer side")
    sized.add_argument("--focal-px", type=float, help="instead: the focal length of all pictures in their pixels")
    sized.add_argument("--camera-height-m", type=float, help="of all pictures, for the floor placement")
    sized.add_argument("--camera-pitch-deg", type=float, help="likewise; looking down is negative")
    work = parser.add_argument_group("the work itself")
    work.add_argument("--workers", type=int, metavar="N", help="processes (DEPTHMASK_WORKERS, or one per core)")
    work.add_argument("--replace", action="store_true", help="start over in a folder that this command has written")
    return parser.parse_args(argv)


def _validate_paths(args: argparse.Namespace) -> None:
    for name, value in vars(args).items():
        if isinstance(value, Path) and (CONTROL.search(str(value)) or SURROGATES.search(str(value))):
            raise UserError(f"{_name_option(name)} {show_path(clean(value))}: has characters that cannot be in a path")
        if isinstance(value, str) and SURROGATES.search(value):
            raise UserError(f"{_name_option(name)} {show_path(value)}: is not UTF-8")
    if args.palette is not None:
        require_file(args.palette, "--palette", "CSV or JSON file of names")


def _validate_numbers(args: argparse.Namespace) -> None:
    bounds = {
        "instance_divisor": (2, PIXELS_MAX),
        "score_min": (0, 1),
        "min_side": (1, PIXELS_MAX),
        "min_area": (1, PIXELS_MAX**2),
        "min_background_side": (2, PIXELS_MAX),
        "frame_margin": (0, PIXELS_MAX),
        "num_pictures": (1, 10**9),
        "feather": (0, FEATHER_MAX_PX),
        "field_of_view_deg": DEGREES,
        "focal_px": (1, FOCAL_MAX_PX),
        "camera_height_m": (0.01, METRES_MAX),
        "camera_pitch_deg": (-90, 90),
        "workers": (1, PROCESSES_MAX),
    }
    for name, (low, high) in bounds.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise UserError(f"{_name_option(name)} {value}: allowed: {low} to {high:,}")
    if args.focal_px is not None and args.field_of_view_deg is not None:
        raise UserError("--focal-px: --field-of-view-deg is set too; set one of them")
    if (args.depth is None) != (args.depth_format is None):
        raise UserError("--depth, --depth-format: set both: the folder of depth maps, and how to read them")
    if args.depth is None and (args.field_of_view_deg or args.focal_px):
        warn("--field-of-view-deg, --focal-px: sizes in metres need depth maps too (--depth)")
    if args.depth is not None and not (args.field_of_view_deg or args.focal_px):
        warn("--depth: sizes in metres need the camera too (--field-of-view-deg or --focal-px)")
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", args.device):
        raise UserError(f"--device {args.device}: allowed: cpu, cuda, cuda:0, mps")
    if args.device != "cpu" and (args.workers or 1) > 1:
        raise UserError(f"--workers {args.workers}: one process uses a device; set --workers 1")
    args.workers = 1 if args.device != "cpu" else args.workers


def _name_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _make_plan(args: argparse.Namespace) -> Plan:
    depth = None
    if args.depth_format is not None:
        depth = _read_depth_format(args.depth_format)
    pitch = None if args.camera_pitch_deg is None else args.camera_pitch_deg * math.pi / 180
    return Plan(
        out=args.out,
        filters=Filters(
            kinds=frozenset(map(str.lower, args.kinds)),
            not_kinds=frozenset(map(str.lower, args.not_kinds)),
            side_min_px=args.min_side,
            area_min_px=args.min_area,
            background_side_min_px=args.min_background_side,
            frame_margin_px=args.frame_margin,
            allow_cut=args.allow_cut,
        ),
        one_per=args.one_per,
        feather_px=args.feather,
        backgrounds=args.backgrounds.replace("-", "_"),
        optics=Optics(args.field_of_view_deg, args.focal_px, args.camera_height_m, pitch),
        depth=depth,
        licence=args.licence,
    )


def _read_depth_format(text: str) -> DepthParams:
    try:
        values = parse_yaml(text, "--depth-format")
        depth = fit_schema(DepthParams, values, "--depth-format") if isinstance(values, dict) else None
    except ParamsError as error:  # whose exit code is that of params.yaml
        raise UserError(error.message, error.hint) from error
    if depth is None:
        example = "{unit: metre, polarity: near_is_small, max: 20.0, raw_max: 20000, raw_unknown: 0}"
        raise UserError(f"--depth-format {text[:60]}: is not like download.depth; write {example}")
    if depth.unit != "metre":
        raise UserError(
            f"--depth-format: unit: {depth.unit}; sizes need metres: leave out --depth, and copy the maps to bg_depth/"
        )
    return depth


def _make_request(args: argparse.Namespace) -> Request:
    return Request(
        annotations=args.annotations,
        images=args.images,
        palette=None if args.palette is None else read_palette(args.palette),
        instance_divisor=args.instance_divisor,
        invert=args.invert,
        allow_occluded=args.allow_occluded,
        kind=args.kind,
        segmenter=args.segmenter,
        device=args.device,
        score_min=args.score_min,
    )


def _drop_unwritable(reading: Reading) -> None:
    """Move pictures whose names are not UTF-8 to the problems: no file could be named after them."""
    for picture in reading.pictures:
        if SURROGATES.search(picture.name):
            reading.problems.append(Problem(show_path(picture.name), UNREADABLE, "its name is not UTF-8; rename it"))
    reading.pictures = [picture for picture in reading.pictures if not SURROGATES.search(picture.name)]


def _validate_kinds(args: argparse.Namespace, reading: Reading) -> None:
    """Reject a kind that the annotation cannot have, as far as that is known before the pictures are read."""
    kinds = reading.kinds
    if kinds is None and all(isinstance(picture.objects, DrawnObjects) for picture in reading.pictures):
        kinds = {one.kind for picture in reading.pictures for one in picture.objects.drawn if one.kind is not None}
    known = {kind.lower(): kind for kind in kinds or ()}
    for option, names in (("--kinds", args.kinds), ("--not-kinds", args.not_kinds)):
        for name in names:
            if kinds is not None and name.lower() not in known:
                near = difflib.get_close_matches(name.lower(), known, n=1)
                shown = (
                    f"did you mean {known[near[0]]}?" if near else f"there are {', '.join(sorted(known.values())[:20]) or 'none'}"
                )
                raise UserError(clean(f"{option} {name}: no such kind in the annotation; {shown}"))


def _make_job(args: argparse.Namespace, plan: Plan, reading: Reading) -> Job:
    """The pictures to read, and those that are backgrounds as they are; files that are not read are added to `reading`."""
    pictures = sorted(reading.pictures, key=lambda picture: picture.name)
    if args.num_pictures is not None:
        pictures = choose_spread(pictures, args.num_pictures)
    if not pictures:
        first = reading.problems[0] if reading.problems else None
        why = f"; the first of {len(reading.problems)} problems: {first.place}: {first.reason}: {first.detail}" if first else ""
        raise UserError(f"{args.annotations or args.images}: names no picture in {args.images or args.annotations}{why}")
    num_annotated = len(pictures)
    if args.backgrounds_from is not None:
        folder = PictureFolder(require_folder(args.backgrounds_from, "--backgrounds-from", "folder of photos without objects"))
        if not folder.files:
            raise UserError(f"--backgrounds-from {args.backgrounds_from}: contains no picture")
        pictures += [Picture(name, path, DrawnObjects()) for name, path in folder.files.items()]
        reading.unread += folder.list_unread(folder.files)
    depth_maps = _match_depth(args, pictures, reading)
    bases = name_pictures([picture.name for picture in pictures], _compile(args.group))
    tasks = [Task(i, base, depth_maps.get(i), i >= num_annotated) for i, base in enumerate(bases)]
    return Job(plan, pictures, tasks)


def _compile(pattern: str | None) -> re.Pattern | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group {pattern}: is not a regular expression ({error})") from error


def _match_depth(args: argparse.Namespace, pictures: list[Picture], reading: Reading) -> dict[int, Path]:
    """The depth map of each picture that has one."""
    if args.depth is None:
        return {}
    folder = PictureFolder(require_folder(args.depth, "--depth", "folder of depth maps"), DEPTH_SUFFIXES)
    numbers = {picture.name: number for number, picture in enumerate(pictures)}
    matched = match_stems(numbers, folder.files)
    if not matched:
        raise UserError(
            f"--depth {args.depth}: none of {len(folder.files)} depth maps has the name of a picture; name them alike"
        )
    used = {found[0] for found in matched.values()}
    reading.unread += folder.list_unread(used, "depth maps without a picture")
    return {numbers[name]: folder.files[found[0]] for name, found in matched.items()}


def _list_settings(args: argparse.Namespace, filters: Filters, palette: Palette | None) -> Mapping[str, Any]:
    """All that decides what is made of a picture, by the names of options; the annotation is noted for each picture."""
    without = {"out", "workers", "replace", "num_pictures", "backgrounds_from", "annotations", "images", "depth"}
    settings = {_name_option(name): value for name, value in vars(args).items() if name not in without}
    settings["--kinds"], settings["--not-kinds"] = sorted(filters.kinds), sorted(filters.not_kinds)
    if palette is not None:
        settings["--palette"] = {key: {str(k): v for k, v in part.items()} for key, part in asdict(palette).items()}
    settings["--segmenter"] = None if args.segmenter is None else args.segmenter.name
    return {"version": VERSION, **{key: value for key, value in settings.items() if value is not None}}
