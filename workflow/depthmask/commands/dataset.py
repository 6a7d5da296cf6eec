"""`depthmask dataset`: writes composites to disk, for tools that do not compose their own."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import yaml

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.terminal import count, note, show_stage
from depthmask.dataset.about import write_about
from depthmask.dataset.layouts import LAYOUTS
from depthmask.dataset.plan import Folders, Plan, Request, declare_download, make_plan
from depthmask.dataset.running import choose_blocks, make_missing, prepare_folder
from depthmask.dataset.writing import Job
from depthmask.execution.speed_options import read_num_processes
from depthmask.loading.split_files import PARTS
from depthmask.params import load_params
from depthmask.preflight.capacity import format_bytes

COUNTS, SIDES_PX, EPOCHS, SHARDS_MAX = (1, 10_000_000), (8, 2048), (0, 1_000_000), 10_000
KEPT = "finished composites are kept; rerun the same command to continue"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    shard = _read_shard(args.shard)
    for name, value, (low, high) in (
        ("--count", args.count, COUNTS),
        ("--size", args.size, SIDES_PX),
        ("--epoch", args.epoch, EPOCHS),
    ):
        if value is not None and not low <= value <= high:
            raise UserError(f"{name} {value}: allowed: {low:,} to {high:,}")
    params = load_params(args.params)
    request = Request(
        args.layout,
        args.part,
        args.count,
        args.size or params.evaluate.image_size_px,
        args.epoch,
        args.format,
        not args.no_backgrounds,
        args.source,
    )
    num_processes = read_num_processes()
    composites = count(args.count, f"{args.part} composite")
    about = f"{composites} of {request.size_px} px as {args.layout}, {num_processes} at once"
    with show_stage("dataset", about if shard is None else f"{about}, shard {args.shard}", KEPT) as shown:
        plan = make_plan(request, params, Folders(args.raw, args.more, args.split))
        _print_notes(plan)
        job = Job(plan, args.out)
        prepare_folder(job)
        since = time.monotonic()
        num_made, num_found = make_missing(job, choose_blocks(plan.num_blocks, shard), num_processes)
        rate = f", {num_made / max(1e-3, time.monotonic() - since):,.0f} a second" if num_made else ""
        done = count(num_made, "composite") + (f" ({num_found:,} were there)" if num_found else "") + rate
        if shard is not None:
            shown.result = f"{done}; when all shards are, rerun without --shard to complete {args.out}"
            return 0
        summary = write_about(job)
        shown.result = f"{done}; {summary.num_files:,} files, {format_bytes(summary.num_bytes)}; {args.out}"
    _print_declaration(plan, args.out)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="depthmask dataset", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one that is half done is continued")
    parser.add_argument("--count", type=int, required=True, help="number of composites")
    parser.add_argument("--layout", choices=LAYOUTS, default="image_mask_depth", help="file layout (image_mask_depth)")
    parser.add_argument("--part", choices=PARTS, default="train", help="part of the split (train)")
    parser.add_argument("--size", type=int, help="side of the images in pixels (evaluate.image_size_px)")
    parser.add_argument("--epoch", type=int, default=0, help="training epoch: each has its own composites (0)")
    parser.add_argument(
        "--format",
        choices=("png", "jpg"),
        help="of the images: png is lossless, and has 16-bit depth; jpg of a published system's layout means masks and depth, too"
        " (jpg for those, else png)",
    )
    parser.add_argument("--no-backgrounds", action="store_true", help="do not write the clean backgrounds")
    parser.add_argument("--shard", metavar="K/N", help="make only the K-th of N shards, K from 1; a call without it completes")
    parser.add_argument("--source", metavar="NAME", help="of several sources, the one whose composites are written")
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="folder of the download stage (data/raw)")
    parser.add_argument(
        "--more", type=Path, default=Path("data/raw_more"), help="folder of the download_more stages (data/raw_more)"
    )
    parser.add_argument("--split", type=Path, default=Path("data/split"), help="folder of the split stage (data/split)")
    return parser.parse_args(argv)


def _read_shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= SHARDS_MAX:
        raise UserError(f"--shard {text}: allowed: K/N with K from 1 to N, and N up to {SHARDS_MAX:,}, such as 1/8")
    return int(found[1]), int(found[2])


def _print_notes(plan: Plan) -> None:
    """Print what of params.yaml does not apply in this layout, and a count that leaves no gaps in numbers."""
    layout, grid, total = plan.request.layout, plan.grid, plan.request.count
    if plan.off:
        values = ", ".join(f"{key} {value}" for key, value in plan.off.items())
        note(f"compose: {values} not applied, because {layout} has one clean background for many composites")
    if "composites_per_background" in plan.layout.declare(grid) and total % grid.num_pairs:
        lower, upper = total // grid.num_pairs * grid.num_pairs, grid.num_places * grid.num_pairs
        whole = f"--count {lower} or {upper}" if lower else f"--count {upper}"
        note(
            f"{grid.num_backgrounds} backgrounds x {grid.num_cutouts} cut-outs do not divide {total:,}: the numbers of {layout}"
            f" have gaps; {whole} has none"
        )


def _print_declaration(plan: Plan, out: Path) -> None:
    """Print, on standard output, the keys of params.yaml with which the folder is read."""
    declared = {"download": declare_download(plan, out)}
    if plan.layout.groups:
        declared["split"] = dict(plan.layout.groups)
    print(yaml.safe_dump(declared, sort_keys=False, width=200), end="")
