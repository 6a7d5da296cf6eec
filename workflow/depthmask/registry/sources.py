"""The data layouts that `download.source` can name: one line each."""

from __future__ import annotations

from typing import NamedTuple


class SourceSpec(NamedTuple):
    """The class `cls` in sources/`module`.py reads it; may_have_backgrounds: whether it can contain clean backgrounds.

    needs, may_have: patterns of the names directly in its folder by which an unpacked archive is recognised as the layout,
    however many folders it is wrapped in; `needs` must all be there. searches: it finds them itself, in a folder per archive.
    """

    module: str
    cls: str
    may_have_backgrounds: bool = True
    needs: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    searches: bool = False


_OF_ASSETS = {"needs": ("bg", "fg"), "may_have": ("bg_depth", "fg_depth", r"pack\.json")}
_OF_PHOTOS = {"needs": ("images",), "may_have": ("masks", "depth", "background")}
_OF_FLAT_NAMED = {"needs": (r"fgbg_?\d+", r"mask_fgbg_?\d+"), "may_have": (r"depth_fgbg_?\d+",)}
_OF_PARTS = {"needs": ("Fg-Bg", "Fg-Bg-Mask"), "may_have": ("Depth",), "searches": True}
_OF_FOUR_ZIPS = {"needs": ("OverlayedImages", "OverlayedMasks"), "may_have": ("DepthImage", "Background"), "searches": True}

SOURCES: dict[str, SourceSpec] = {
    "demo": SourceSpec("assets", "DemoSource", **_OF_ASSETS),
    "assets": SourceSpec("assets", "AssetsSource", **_OF_ASSETS),
    "image_mask_depth": SourceSpec("image_mask_depth", "ImageMaskDepthSource", **_OF_PHOTOS),
    "flat_numbered": SourceSpec("flat_numbered", "FlatNumberedSource", False, ("images", "masks"), ("depth",)),
    "nested": SourceSpec("nested", "NestedSource", True, ("bg", r"bg_?\d+")),
    "flat_named": SourceSpec("flat_named", "FlatNamedSource", False, **_OF_FLAT_NAMED),
    "parts": SourceSpec("parts", "PartsSource", False, **_OF_PARTS),
    "four_zips": SourceSpec("four_zips", "FourZipsSource", **_OF_FOUR_ZIPS),
}
