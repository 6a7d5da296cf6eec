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
from depthmask.params import DownloadParams, load_params
from depthmask.params.mixture import list_sources, name_source, strip_source
from depthmask.params.other_sets import find_other_set, name_other_set
from depthmask.runs.run_record import record_run
from depthmask.sources import print_findings


@print_errors_as_lines
def main(argv: list[str] | None = None, load: Callable[[str], Any] = load_params) -> int:
    """load: reads the params file; another graph's file has the same sections."""
    parser = make_stage_parser("download", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--source", help="name in download.more_sources (the section's own source)")
    which.add_argument("--other", metavar="NAME", help="name in evaluate.more, of a data set that the model is only scored on")
    parser.add_argument("--run", type=Path, help="JSON file to write: the run record")
    parser.add_argument(
        "--cache", type=Path, help="folder for fetched files and pseudo labels (DEPTHMASK_CACHE, or ~/.cache/depthmask)"
    )
    args = parser.parse_args(argv)

    name, key, download, in_force = _choose(load(args.params), args.source, args.other)
    about = f"{download.source} from {', '.join(download.urls) or download.path}"
    kept = "finished downloads are kept; rerun to resume"
    with record_run(name, args.run, in_force, about, kept) as run:
        record = fetch(download, args.out, args.cache or choose_cache(), key)
        _print_origin(record)
        for line in record["unread"]:
            note(line)
        run.extra["unread"] = record["unread"]
        print_findings(record, args.out)
        run.result = f"{record['num_files']} files; {args.out}"
    return 0


def _choose(params: Any, source: str | None, other: str | None) -> tuple[str, str, DownloadParams, dict[str, Any]]:
    """What to download: a name for the run, its key in params.yaml, its declaration, and params for the run record.

    Raises:
        UserError: params.yaml has nothing of this name.
    """
    declared = params.download
    if other is not None:
        download = strip_source(find_other_set(params, other, "--other"))
        return f"download {other}", name_other_set(other), download, {"download_other": {other: download.model_dump()}}
    sources = list_sources(declared)
    name = declared.source if source is None else source
    if name not in sources:
        raise UserError(f"--source {source}: not in download.more_sources; allowed: {', '.join(sources)}")
    download, key = sources[name], name_source(declared, name)
    if source is None:
        return "download", key, download, {"download": download.model_dump()}
    return f"download {name}", key, download, {"download_more": {name: download.model_dump()}}


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
