"""Writes pack.json and cutouts.json, and counts what was made and what was left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from depthmask.base.files import write_json
from depthmask.cutouts.objects import UNWANTED, Problem, Reading, Unread
from depthmask.cutouts.plan import Plan, Result, Task

NO_KIND = "without a kind"


class Reason(NamedTuple):
    """Why something was left out, how often, and one instance of it."""

    reason: str
    number: int
    example: str


@dataclass(frozen=True)
class Summary:
    """What a call has made. kinds: number of cut-outs by kind; left_out: of objects, by reason; the others of pictures."""

    num_pictures: int
    num_cutouts: int
    num_backgrounds: int
    num_sized: int
    num_filling: int
    kinds: dict[str, int]
    left_out: list[Reason]
    no_background: list[Reason]
    faults: list[Reason]
    problems: list[Reason]
    unread: list[Unread]
    licences: dict[str, int]


def summarize(results: Sequence[Result], reading: Reading) -> Summary:
    """Count everything, most frequent first."""
    kept = [(result, one) for result in results for one in result.kept]
    left = [
        (
            f"{one.reason} ({one.kind or NO_KIND})" if one.reason == UNWANTED else one.reason,
            one.number,
            _name(result, one.place, one.detail),
        )
        for result in results
        for one in result.left_out
    ]
    faults = [(r.fault, 1, f"{r.picture}: {r.detail}") for r in results if r.fault is not None]
    faults += [("depth map left out", 1, r.depth_fault) for r in results if r.depth_fault is not None]
    backgrounds = [result for result in results if result.background]
    licences = Counter(r.licence for r in results if (r.kept or r.background) and r.licence)
    kinds = Counter(one.kind or NO_KIND for _, one in kept)
    return Summary(
        num_pictures=len(results),
        num_cutouts=len(kept),
        num_backgrounds=len(backgrounds),
        num_sized=sum(one.pixels_per_m is not None for _, one in kept),
        num_filling=sum(one.fills_box for _, one in kept),
        kinds=_sort(kinds),
        left_out=_gather(left),
        no_background=_gather([(r.no_background, 1, r.picture) for r in results if r.no_background]),
        faults=_gather(faults),
        problems=_gather([(p.reason, 1, _join(p)) for p in reading.problems]),
        unread=reading.unread,
        licences=_sort(licences),
    )


def _name(result: Result, place: str, detail: str) -> str:
    return f"{result.picture}: {place}" + (f": {detail}" if detail else "")


def _join(problem: Problem) -> str:
    return f"{problem.place}: {problem.detail}" if problem.detail else problem.place


def _gather(entries: Sequence[tuple[str, int, str]]) -> list[Reason]:
    numbers: Counter = Counter()
    examples: dict[str, str] = {}
    for reason, number, example in entries:
        numbers[reason] += number
        examples.setdefault(reason, example)
    return [Reason(reason, number, examples[reason]) for reason, number in _sort(numbers).items()]


def _sort(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def write_pack(path: Path, results: Sequence[Result], tasks: Sequence[Task], plan: Plan) -> None:
    """Write pack.json: kind, size, photo and licence of each cut-out, camera, photo and licence of each background."""
    backgrounds, cutouts = {}, {}
    for result in results:
        where = {"picture": result.picture} | ({"licence": result.licence} if result.licence else {})
        if result.background:
            camera = plan.optics.describe(result.height, result.width)
            backgrounds[tasks[result.number].base] = camera | where
        for one in result.kept:
            size = {"pixels_per_m": one.pixels_per_m, "height_m": one.height_m, "depth_m": one.depth_m}
            entry = ({"kind": one.kind} if one.kind else {}) | {k: v for k, v in size.items() if v is not None}
            cutouts[one.name] = entry | where | {"object": one.place}
    write_json(path, {"backgrounds": _by_name(backgrounds), "cutouts": _by_name(cutouts)})


def _by_name(entries: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(entries.items()))


def write_record(path: Path, settings: Mapping[str, Any], summary: Summary, results: Sequence[Result], reading: Reading) -> None:
    """Write cutouts.json: the options, the counts, and everything kept and left out with its place."""
    write_json(
        path,
        {
            "settings": settings,
            "cutouts": summary.num_cutouts,
            "backgrounds": summary.num_backgrounds,
            "kinds": summary.kinds,
            "left_out": {reason.reason: reason.number for reason in summary.left_out},
            "licences": summary.licences,
            "problems": [problem._asdict() for problem in reading.problems],
            "not_read": [unread._asdict() for unread in reading.unread],
            "pictures": [_trim(asdict(result)) for result in results],
        },
    )


def _trim(entry: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that say nothing."""
    return {key: value for key, value in entry.items() if value not in (None, "", [], False) and key != "number"}
