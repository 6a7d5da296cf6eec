"""Removes what was downloaded of sources that params.yaml no longer names.

Neither tool removes the output of a stage that is gone, and later stages depend on the folder of all further sources.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from depthmask.params import DownloadParams
from depthmask.params.mixture import list_sources
from depthmask.sources.store_format import RECORD


def remove_other_sources(folder: Path, download: DownloadParams) -> list[Path]:
    """Remove from `folder` what download_more stages wrote for other names, and nothing else; returns what was removed."""
    if not folder.is_dir():
        return []
    names = list_sources(download)
    others = [path for path in sorted(folder.iterdir()) if path.name not in names and (path / RECORD).is_file()]
    others = [path for path in others if not path.is_symlink()]
    for path in others:
        shutil.rmtree(path)
    return others
