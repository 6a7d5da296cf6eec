"""Prints what was made, what was left out and why, and what to write into params.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path

from depthmask.base.terminal import clean, count, make_console, note, warn
from depthmask.cutouts.naming import GROUP_PATTERN
from depthmask.cutouts.objects import Reading
from depthmask.cutouts.plan import Plan
from depthmask.cutouts.results import Reason, Summary

ROWS_SHOWN = 12
EXAMPLE_MAX = 160
PARTS_MIN = 3  # of the split: each needs a background and a cut-out


def print_summary(out: Path, summary: Summary, reading: Reading, num_resumed: int) -> None:
    """Print the counts on standard output, and what a user should look at on standard error."""
    if num_resumed:
        note(f"{num_resumed:,} of {count(summary.num_pictures, 'picture')} were done by an earlier call")
    for line in reading.notes:
        note(line)
    kinds = [f"{kind} {number:,}" for kind, number in summary.kinds.items()]
    shown = ", ".join(kinds[:ROWS_SHOWN]) + (", ..." if len(kinds) > ROWS_SHOWN else "")
    console = make_console(stderr=False)
    made = f"{count(summary.num_cutouts, 'cut-out')} and {count(summary.num_backgrounds, 'background')}"
    console.print(clean(f"{out}: {made} from {count(summary.num_pictures, 'picture')}"), soft_wrap=True)
    if summary.num_cutouts:
        sizes = f"; size in metres known for {summary.num_sized:,}" if summary.num_sized else ""
        console.print(clean(f"kinds: {shown}{sizes}"), soft_wrap=True)
    for title, reasons in (
        ("objects left out", summary.left_out),
        ("pictures left out", summary.faults),
        ("pictures not used as backgrounds", summary.no_background),
        ("in the annotation", summary.problems),
        ("files that were not read", [Reason(*one) for one in summary.unread]),
    ):
        _print_reasons(title, reasons)
    if summary.num_filling:
        warn(
            f"{count(summary.num_filling, 'cut-out')} filled like a rectangle; if boxes were drawn there, not outlines, remove"
            " them from the annotation"
        )
    console.print(clean(f"contact sheet: {out / 'cutouts.html'}"), soft_wrap=True)


def _print_reasons(title: str, reasons: list[Reason]) -> None:
    if not reasons:
        return
    lines = [f"{title}: {sum(reason.number for reason in reasons):,}"]
    for reason in reasons[:ROWS_SHOWN]:
        example = reason.example if len(reason.example) <= EXAMPLE_MAX else f"{reason.example[:EXAMPLE_MAX]}..."
        lines.append(f"  {reason.number:,} {reason.reason}, such as {example}")
    if len(reasons) > ROWS_SHOWN:
        lines.append(f"  {sum(reason.number for reason in reasons[ROWS_SHOWN:]):,} others, listed in cutouts.json")
    console = make_console(stderr=False)
    for line in lines:
        console.print(clean(line), soft_wrap=True)


def print_next_steps(out: Path, summary: Summary, plan: Plan) -> None:
    """Print the lines of params.yaml with which these files are used."""
    if summary.num_backgrounds < PARTS_MIN:
        warn(
            f"{count(summary.num_backgrounds, 'background')}: training needs {PARTS_MIN} or more; add photos in which"
            " nothing wanted is seen with --backgrounds-from FOLDER"
        )
    if summary.num_cutouts < PARTS_MIN:
        warn(f"{count(summary.num_cutouts, 'cut-out')}: training needs {PARTS_MIN} or more, from different pictures")
    lines = ["download:", "  source: assets", f"  path: {_quote(str(out))}"]
    if plan.depth is not None:
        values = ", ".join(f"{key}: {_write(value)}" for key, value in plan.depth.model_dump().items())
        lines.append(f"  depth: {{{values}}}")
    lines += ["split:", f"  background_group: '{GROUP_PATTERN}'", f"  cutout_group: '{GROUP_PATTERN}'"]
    console = make_console(stderr=False)
    console.print("write into params.yaml:", soft_wrap=True)
    for line in lines:
        console.print(clean(line), soft_wrap=True)


def _quote(text: str) -> str:
    """A text for YAML, quoted where it must be."""
    return text if re.fullmatch(r"[\w./~][\w./~+-]*", text, re.ASCII) else json.dumps(text, ensure_ascii=False)


def _write(value: object) -> str:
    return "null" if value is None else str(value)
