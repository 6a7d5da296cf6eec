"""Pre-composited samples in one folder per background and cut-out, the layout of the second published system.

bg/bgB.jpg   bgB/fg_F/overlay/P.jpg   bgB/fg_F/mask/P.jpg   bgB/fg_F/depth/P.jpg   B, F, P are numbers
"""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.data.formats import SUFFIXES_OF
from depthmask.data.sample import Origin
from depthmask.sources.layout import add_once, list_folders, match_names, scan_pictures
from depthmask.sources.pre_composited import PreCompositedSource

FOLDERS = {"image": "overlay", "mask": "mask", "depth": "depth"}
BACKGROUND, CUTOUT, PLACE = (re.compile(form, re.ASCII) for form in (r"bg_?(\d+)", r"fg_?(\d+)", r"(\d+)"))


class NestedSource(PreCompositedSource):
    """A folder in the layout above; the key of a composite is bgB_fgF_P, with leading zeros."""

    def name_folder(self, kind: str) -> str:
        return f"bgB/fg_F/{FOLDERS[kind]}"

    def _list(self, kind: str) -> dict[str, str]:
        pictures = {}
        for background, folder in _match_folders(self.root, BACKGROUND):
            for cutout, inner in _match_folders(folder, CUTOUT):
                place = inner / FOLDERS[kind]
                found = scan_pictures(place, SUFFIXES_OF[kind], self.bad) if place.is_dir() else {}
                for stem, match in match_names(found, PLACE, place, "NUMBER", self.bad).items():
                    key = f"bg{background:04d}_fg{cutout:04d}_{int(match[1]):04d}"
                    add_once(pictures, key, f"{place}/{found[stem]}")
        return pictures

    def _list_clean(self) -> dict[str, Path]:
        return list_named_backgrounds(self, "bg")

    def _describe(self, key: str) -> Origin:
        background, cutout, _ = key.split("_")
        return Origin(key, background, cutout)

    def _place_depth(self, picture: Path) -> Path:
        return picture.parents[1] / FOLDERS["depth"] / picture.name


def list_named_backgrounds(source: PreCompositedSource, folder_name: str) -> dict[str, Path]:
    """The images bgB.jpg in a folder by bgB, with leading zeros."""
    folder = source.root / folder_name
    found = scan_pictures(folder)
    matches = match_names(found, BACKGROUND, folder, "bgNUMBER", source.bad)
    clean: dict[str, Path] = {}
    for stem, match in matches.items():
        add_once(clean, f"bg{int(match[1]):04d}", folder / found[stem])
    return clean


def _match_folders(folder: Path, pattern: re.Pattern) -> list[tuple[int, Path]]:
    matches = [(pattern.fullmatch(inner.name), inner) for inner in list_folders(folder)]
    return [(int(match[1]), inner) for match, inner in matches if match]
