"""The data layouts that `download.source` can name: one line each."""

from __future__ import annotations

from typing import NamedTuple


class SourceSpec(NamedTuple):
    """The class `cls` in sources/`module`.py reads it; may_have_backgrounds: whether it can contain clean backgrounds."""

    module: str
    cls: str
    may_have_backgrounds: bool = True


SOURCES: dict[str, SourceSpec] = {
    "demo": SourceSpec("assets", "DemoSource"),
    "assets": SourceSpec("assets", "AssetsSource"),
    "flat_numbered": SourceSpec("flat_numbered", "FlatNumberedSource", may_have_backgrounds=False),
    "nested": SourceSpec("nested", "NestedSource"),
    "flat_named": SourceSpec("flat_named", "FlatNamedSource", may_have_backgrounds=False),
    "parts": SourceSpec("parts", "PartsSource", may_have_backgrounds=False),
    "four_zips": SourceSpec("four_zips", "FourZipsSource"),
}
