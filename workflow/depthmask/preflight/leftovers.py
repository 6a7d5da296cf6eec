"""Removes what was made from further sources, and of other data sets, that params.yaml no longer names.

Neither tool removes the output of a stage that is gone, and later stages depend on the folder of all further sources.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from depthmask.params import DownloadParams, Params
from depthmask.params.mixture import list_sources
from depthmask.params.other_sets import get_other_sets
from depthmask.sources.store_format import RECORD

RUN_RECORD = "run.json"


def remove_other_sources(folder: Path, download: DownloadParams) -> list[Path]:
    """Remove from `folder` what download_more stages wrote for other names, and nothing else; returns what was removed."""
    return _remove_others(folder, download, lambda path: (path / RECORD).is_file())


def remove_other_runs(folder: Path, download: DownloadParams) -> list[Path]:
    """The same for the run records of these stages."""
    return _remove_others(folder, download, lambda path: [entry.name for entry in path.iterdir()] == [RUN_RECORD])


def remove_gone_sets(data: Path, reports: Path, params: Params) -> list[Path]:
    """Remove what the stages of other data sets wrote for names that `evaluate.more` does not have, and nothing else.

    data, reports: the folders that hold one folder for each set; returns what was removed.
    """
    named = list(get_other_sets(params))
    removed = _remove_unnamed(data, named, lambda path: (path / "raw" / RECORD).is_file())
    return removed + _remove_unnamed(reports, named, lambda path: (path / "download" / RUN_RECORD).is_file())


def _remove_others(folder: Path, download: DownloadParams, is_made: Callable[[Path], bool]) -> list[Path]:
    _, *named = list_sources(download)  # the first may have been one of the others
    return _remove_unnamed(folder, named, is_made)


def _remove_unnamed(folder: Path, named: Collection[str], is_made: Callable[[Path], bool]) -> list[Path]:
    if not folder.is_dir():
        return []
    others = [path for path in sorted(folder.iterdir()) if path.name not in named and path.is_dir() and not path.is_symlink()]
    others = [path for path in others if is_made(path)]
    for path in others:
        shutil.rmtree(path)
    return others
