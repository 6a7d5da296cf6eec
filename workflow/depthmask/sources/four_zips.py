"""Pre-composited samples in four archives, one per kind, the layout of the fourth published system.

Background/NAME_N.jpg   OverlayedImages/*/NAME.jpg   OverlayedMasks/*/NAME.jpg   DepthImage/*/NAME.jpg

The second `_`-separated field of a composite's name is a letter and the number N of its background. The name does not reliably
identify the cut-out; a `split.cutout_group` that matches it in the name keeps cut-outs apart.
"""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.data.formats import SUFFIXES_OF
from depthmask.data.sample import Origin
from depthmask.sources.layout import add_once, find_folders, list_folders, match_names, scan_pictures
from depthmask.sources.pre_composited import PreCompositedSource

FOLDERS = {"image": "OverlayedImages", "mask": "OverlayedMasks", "depth": "DepthImage"}
BACKGROUNDS = "Background"
NAME = re.compile(r"[^_]*_[^\W\d_](\d+)(_.*)?", re.ASCII)
BARE_NAME = re.compile(r".*_(\d+)", re.ASCII)


class FourZipsSource(PreCompositedSource):
    """A folder of the unpacked archives; the key of a composite is its name."""

    def name_folder(self, kind: str) -> str:
        return FOLDERS[kind]

    def _list(self, kind: str) -> dict[str, str]:
        pictures = {}
        for top in find_folders(self.root, FOLDERS[kind]):
            for folder in (top, *list_folders(top)):
                found = scan_pictures(folder, SUFFIXES_OF[kind], self.bad)
                for stem in match_names(found, NAME, folder, "NAME_LETTER+NUMBER_NAME", self.bad):
                    add_once(pictures, stem, f"{folder}/{found[stem]}")
        return pictures

    def _list_clean(self) -> dict[str, Path]:
        clean: dict[str, Path] = {}
        for folder in find_folders(self.root, BACKGROUNDS):
            found = scan_pictures(folder)
            for stem, match in match_names(found, BARE_NAME, folder, "NAME_NUMBER", self.bad).items():
                add_once(clean, f"bg{int(match[1]):04d}", folder / found[stem])
        if not clean:
            raise UserError(f"{self.root}: no backgrounds in {BACKGROUNDS}; is the layout really four_zips?")
        return clean

    def _describe(self, key: str) -> Origin:
        return Origin(key, f"bg{int(NAME.fullmatch(key)[1]):04d}", None)

    def _place_depth(self, picture: Path) -> Path:
        parts = picture.relative_to(self.root).parts
        top = parts.index(FOLDERS["image"])
        return self.root.joinpath(*parts[:top], FOLDERS["depth"], *parts[top + 1 :])
