"""Write the lists of training, validation and test items, and the channel statistics of the training part."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.base.arguments import add_source_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder, write_json
from depthmask.base.terminal import count, note
from depthmask.loading.split_files import PARTS, read_part
from depthmask.params import load_params
from depthmask.runs.run_record import record_run
from depthmask.sources import choose_folder, open_source
from depthmask.sources.assets import AssetsSource
from depthmask.sources.packed import PackedSource
from depthmask.split.assets import split_source, write_parts
from depthmask.split.packed import split_packed, write_packed
from depthmask.split.statistics import measure_channels, measure_packed


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """load: reads the params file; another graph's file has the same sections."""
    parser = make_stage_parser("split", __doc__)
    add_source_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--run", type=Path, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    params = load(args.params)
    in_force = {"seed": params.seed, "split": params.split.model_dump(), "compose": params.compose.model_dump()}
    about = f"test {params.split.test:g}, validation {params.split.validation:g}, seed {params.seed}"
    with record_run("split", args.run, in_force, about) as run:
        source = open_source(choose_folder(args.raw, args.store))
        split = _split_packed if isinstance(source, PackedSource) else _split_assets
        with replace_folder(args.out) as folder:
            counts, channels, remark = split(source, params, folder)
            write_json(folder / "statistics.json", {"counts": counts, "channels": channels})
        if remark:
            note(remark)
        run.result = f"{_describe(counts)}; {args.out}"
    return 0


def _describe(counts: dict[str, dict[str, int]]) -> str:
    """How many items of each role are in each part."""
    return ", ".join(f"{part} " + " + ".join(count(num, role) for role, num in roles.items()) for part, roles in counts.items())


def _split_assets(source: AssetsSource, params: Any, folder: Path) -> tuple[dict, dict, str | None]:
    """Write the lists; returns counts by part and role, channel statistics, and a note for the user."""
    rows = split_source(source, params.split, params.seed)
    write_parts(folder, rows)
    counts = {part: dict(Counter(row["role"] for row in rows[part])) for part in PARTS}
    return counts, measure_channels(source, read_part(folder, "train"), params.compose, params.seed), None


def _split_packed(source: PackedSource, params: Any, folder: Path) -> tuple[dict, dict, str | None]:
    """The same for pre-composited samples."""
    split = split_packed(source, params.split, params.seed)
    write_packed(folder, split, source.identity)
    counts = {part: {split.role: len(rows)} for part, rows in split.rows.items()}
    note = "this layout does not identify cut-outs, so the split is by background only; see docs/sources.md"
    is_said = split.knows_cutouts or source.has_photos  # of photos nobody expects cut-outs
    return counts, measure_packed(source, split.rows["train"], params.seed), None if is_said else note


if __name__ == "__main__":
    sys.exit(main())
