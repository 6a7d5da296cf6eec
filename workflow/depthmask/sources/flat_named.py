"""Pre-composited samples with descriptive names, the second layout of the second published system.

fgbg_B/bgB_R_C_fg_F.jpg or bgB_R_C_flip_fg_F.jpg   R: row, C: column
mask_fgbg_B/mask_bgB_R_C_fg_F.jpg   depth_fgbg_B/depth_bgB_R_C_fg_F.jpg

The folder named by `backgrounds`, if any, contains the clean backgrounds as bgB.jpg.
"""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.data.formats import SUFFIXES_OF
from depthmask.data.sample import Origin
from depthmask.sources.layout import add_once, list_folders, match_names, scan_pictures
from depthmask.sources.nested import list_named_backgrounds
from depthmask.sources.pre_composited import PreCompositedSource

PREFIXES = {"image": "", "mask": "mask_", "depth": "depth_"}
NAME = r"bg(\d+)_(\d+)_(\d+)(_flip)?_fg_(\d+)"


class FlatNamedSource(PreCompositedSource):
    """A folder in the layout above; the key of a composite is its image's name. A flipped cut-out is the same cut-out."""

    def name_folder(self, kind: str) -> str:
        return f"{PREFIXES[kind]}fgbg_B"

    def _list(self, kind: str) -> dict[str, str]:
        prefix, pictures = PREFIXES[kind], {}
        folder_name, pattern = re.compile(rf"{prefix}fgbg_?\d+", re.ASCII), re.compile(f"{prefix}({NAME})", re.ASCII)
        for folder in list_folders(self.root):
            if folder_name.fullmatch(folder.name):
                found = scan_pictures(folder, SUFFIXES_OF[kind], self.bad)
                form = f"{prefix}bgB_R_C_fg_F or {prefix}bgB_R_C_flip_fg_F"
                for stem, match in match_names(found, pattern, folder, form, self.bad).items():
                    add_once(pictures, match[1], f"{folder}/{found[stem]}")
        return pictures

    def _list_clean(self) -> dict[str, Path]:
        name = self.download.backgrounds
        return {} if name is None else list_named_backgrounds(self, name)

    def _describe(self, key: str) -> Origin:
        match = re.fullmatch(NAME, key)
        return Origin(key, f"bg{int(match[1]):04d}", f"fg{int(match[5]):04d}")

    def _place_depth(self, picture: Path) -> Path:
        prefix = PREFIXES["depth"]
        return picture.parents[1] / f"{prefix}{picture.parent.name}" / f"{prefix}{picture.name}"
