"""Copy, fetch or unpack a source that params.yaml names, and check it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import choose_cache
from depthmask.base.terminal import note
from depthmask.download.fetch import fetch
from depthmask.params import load_params
from depthmask.params.mixture import list_sources, name_source
from depthmask.runs.run_record import record_run
from depthmask.sources import print_findings


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """load: reads the params file; another graph's file has the same sections."""
    parser = make_stage_parser("download", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--source", help="name in download.more_sources (the section's own source)")
    parser.add_argument("--run", type=Path, help="JSON file to write: the run record")
    parser.add_argument(
        "--cache", type=Path, help="folder for fetched files and pseudo labels (DEPTHMASK_CACHE, or ~/.cache/depthmask)"
    )
    args = parser.parse_args(argv)

    declared = load(args.params).download
    sources = list_sources(declared)
    source = declared.source if args.source is None else args.source
    if source not in sources:
        raise UserError(f"--source {args.source}: not in download.more_sources; allowed: {', '.join(sources)}")
    download, key = sources[source], name_source(declared, source)
    about = f"{download.source} from {', '.join(download.urls) or download.path}"
    kept = "finished downloads are kept; rerun to resume"
    name, in_force = "download", {"download": download.model_dump()}
    if args.source is not None:
        name, in_force = f"download {source}", {"download_more": {source: download.model_dump()}}
    with record_run(name, args.run, in_force, about, kept) as run:
        record = fetch(download, args.out, args.cache or choose_cache(), key)
        _print_origin(record)
        for line in record["unread"]:
            note(line)
        run.extra["unread"] = record["unread"]
        print_findings(record, args.out)
        run.result = f"{record['num_files']} files; {args.out}"
    return 0


def _print_origin(record: dict[str, Any]) -> None:
    """Print licence, checksums and pseudo-label model."""
    if record["set"] is not None:
        note(f"licence: {record['set']['licence']}; please cite: {record['set']['citation']}")
    if not all("#sha256=" in url for url in record["download"]["urls"]) and record["download"]["sha256"] is None:
        for archive in record["archives"]:
            note(f"sha256 {archive['sha256']}: {archive['url']}")
    if record["pseudo_labels"] is not None and record["pseudo_labels"]["revision"] is not None:
        note(f"pseudo labels by {record['pseudo_labels']['model']}, revision {record['pseudo_labels']['revision']}")


if __name__ == "__main__":
    sys.exit(main())
