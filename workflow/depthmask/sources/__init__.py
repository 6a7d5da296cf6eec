"""Where data come from. A new layout is one file with one class, and one line in SOURCES.

A source has `backgrounds` and `cutouts` (keys; composed while training) or `composites` (ready-made), says what it has
(`has_backgrounds`, `has_depth`), lists its `files()`, reads everything once in `check()`, and reads one item by key. What
`check` left out is in `skipped`, what looks wrong without being an error in `warnings`.
"""

from __future__ import annotations

from pathlib import Path

from depthmask.errors import UserError
from depthmask.files import read_json
from depthmask.params import DownloadParams
from depthmask.sources.assets import AssetsSource, DemoSource
from depthmask.sources.flat_named import FlatNamedSource
from depthmask.sources.flat_numbered import FlatNumberedSource
from depthmask.sources.four_zips import FourZipsSource
from depthmask.sources.nested import NestedSource
from depthmask.sources.parts import PartsSource
from depthmask.sources.ready_made import ReadyMadeSource

SOURCES = {
    "demo": DemoSource,
    "assets": AssetsSource,
    "flat_numbered": FlatNumberedSource,
    "nested": NestedSource,
    "flat_named": FlatNamedSource,
    "parts": PartsSource,
    "four_zips": FourZipsSource,
}
RECORD = "source.json"

Source = AssetsSource | ReadyMadeSource


def open_source(raw: Path) -> Source:
    """The source that the download stage has put into `raw`.

    Raises:
        UserError: there is none, or a file of it is missing.
    """
    if not (raw / RECORD).is_file():
        raise UserError(f"{raw / RECORD}: no such file; run the download stage first")
    download = DownloadParams(**read_json(raw / RECORD)["download"])
    return SOURCES[download.source](raw, download)
