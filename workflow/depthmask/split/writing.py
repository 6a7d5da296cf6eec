"""Splits the source, or each of several, and writes the files of the split."""

from __future__ import annotations

import csv
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

from depthmask.base.files import replace_file, write_json
from depthmask.loading.depth_scale import make_depth_scale
from depthmask.loading.split_files import COLUMNS, MIXTURE, PARTS, read_part
from depthmask.params import ComposeParams, Params, SplitParams
from depthmask.params.mixture import SourcesParams, list_weights
from depthmask.sources import open_source
from depthmask.sources.assets import AssetsSource
from depthmask.sources.folders import Data, MixedFolders
from depthmask.sources.packed import PackedSource
from depthmask.split.assets import Assign, assign_alone, split_source, write_parts
from depthmask.split.folds import Fold, spread_test
from depthmask.split.mixture import group_sources
from depthmask.split.packed import split_packed, write_packed
from depthmask.split.statistics import DepthRange, measure_channels, measure_packed, mix_channels

NO_CUTOUTS = "this layout does not identify cut-outs, so the split is by background only; see docs/sources.md"
MANY_OUTSIDE = 0.01  # of a source's known pixels: worth a line

Counts = dict[str, dict[str, int]]  # by part and role


class Written(NamedTuple):
    """What was written of a source. remark: a note for the user."""

    counts: Counts
    channels: dict[str, dict]
    remark: str | None


def write_split(folder: Path, data: Data, params: Params, fold: Fold | None = None) -> tuple[Counts, list[str]]:
    """Write the split of one or several sources into a folder; returns counts by part and role, and notes for the user.

    fold: of a cross-validation, whose test part this split has; None: the split that the params ask for.

    Raises:
        UserError: a part would be empty, or a group pattern finds nothing.
    """
    if isinstance(data, MixedFolders):
        return _write_mixture(folder, data, params, fold)
    assign = None if fold is None else partial(assign_alone, seed=params.split_seed, choose_parts=fold.choose_parts)
    written = _write_source(folder, open_source(data), params.split, params.compose, params.split_seed, assign, fold=fold)
    write_json(folder / "statistics.json", {"counts": written.counts, "channels": written.channels})
    return written.counts, [written.remark] if written.remark else []


def _write_source(
    folder: Path,
    source: AssetsSource | PackedSource,
    params: SplitParams,
    compose: ComposeParams,
    seed: int,
    assign: Assign | None = None,
    stream: int = 0,
    depth: DepthRange | None = None,
    fold: Fold | None = None,
) -> Written:
    """Write the lists of one source. assign, stream: see `split_packed`; depth: converts its depth."""
    if isinstance(source, PackedSource):
        split = split_packed(source, params, seed, assign, stream)
        split = split if fold is None else spread_test(split, seed, stream)
        write_packed(folder, split, source.identity)
        counts = {part: {split.role: len(rows)} for part, rows in split.rows.items()}
        remark = None if split.knows_cutouts or source.has_photos else NO_CUTOUTS  # of photos nobody expects cut-outs
        return Written(counts, measure_packed(source, split.rows["train"], seed, depth), remark)
    rows = split_source(source, params, seed, assign)
    write_parts(folder, rows)
    counts = {part: dict(Counter(row["role"] for row in rows[part])) for part in PARTS}
    return Written(counts, measure_channels(source, read_part(folder, "train"), compose, seed, depth), None)


def _write_mixture(folder: Path, data: MixedFolders, params: Params, fold: Fold | None) -> tuple[Counts, list[str]]:
    sources = {name: open_source(path) for name, path in data.folders.items()}
    weights, declared = list_weights(params.download), list_split_params(params.download, params.split)
    choose_parts = None if fold is None else fold.choose_parts
    groups = group_sources(sources, declared, params.split_seed, params.compose.fit, choose_parts)
    first = next(iter(sources.values())).scale
    written, ranges = {}, {}
    for number, (name, source) in enumerate(sources.items()):
        (folder / name).mkdir()
        ranges[name] = DepthRange(make_depth_scale(source.scale, first, is_first=number == 0))
        written[name] = _write_source(
            folder / name,
            source,
            declared[name],
            params.compose,
            params.split_seed,
            groups.assign_for(name),
            number,
            ranges[name],
            fold,
        )
    _join_lists(folder, list(sources))
    counts: Counts = {part: dict(sum((Counter(one.counts[part]) for one in written.values()), Counter())) for part in PARTS}
    of_sources = {
        name: {"weight": weights[name], "counts": one.counts, "channels": one.channels}
        | {"depth_outside_fraction": ranges[name].fraction_outside}
        for name, one in written.items()
    }
    channels = mix_channels({name: one.channels for name, one in written.items()}, weights)
    write_json(folder / "statistics.json", {"counts": counts, "channels": channels, "sources": of_sources})
    write_json(folder / MIXTURE, {"weights": weights})
    remarks = [f"{name}: {one.remark}" for name, one in written.items() if one.remark]
    return counts, remarks + [line for name, one in ranges.items() if (line := _describe_range(name, one))]


def list_split_params(download: SourcesParams, split: SplitParams) -> dict[str, SplitParams]:
    """The split's params for each source: a further one has group patterns of its own."""
    patterns = ("background_group", "cutout_group")
    more = {
        name: split.model_copy(update={key: getattr(source, key) for key in patterns})
        for name, source in download.more_sources.items()
    }
    return {download.source: split, **more}


def _join_lists(folder: Path, names: list[str]) -> None:
    """Write each part's rows of all sources to one list, for people and for the report."""
    for part in PARTS:
        with replace_file(folder / f"{part}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["source", *COLUMNS])
            for name in names:
                with (folder / name / f"{part}.csv").open(newline="", encoding="utf-8") as listed:
                    rows = csv.reader(listed)
                    next(rows)
                    writer.writerows([name, *row] for row in rows)


def _describe_range(name: str, depth: DepthRange) -> str | None:
    """A note if many depths of a source are out of the first one's range."""
    if depth.fraction_outside < MANY_OUTSIDE:
        return None
    percent = f"{depth.fraction_outside:.0%} of the known depths of {name}"
    if depth.scale.factor > 1:
        return f"{percent} are beyond the first source's download.depth.max, and clipped to it; a larger one would keep them"
    return f"{percent} are at its own depth.max, so only known to be at least that far; they are left out of losses and scores"
