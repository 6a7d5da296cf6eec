"""Pre-composited samples in numbered files in several archives, the layout of the third published system.

data_PartK/Fg-Bg/fg-bgN.jpg   data_PartK/Fg-Bg-Mask/fg-bg-maskN.jpg   data_PartK/Depth/depthN.jpg

Each archive is unpacked into its own folder, under any name. N continues across archives. Background and cut-out follow from N as
in `flat_numbered`; if the backgrounds start over in each archive, composites_per_part says after how many numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from depthmask.sources.flat_numbered import FlatNumberedSource
from depthmask.sources.layout import find_folders


class PartsSource(FlatNumberedSource):
    """A folder of unpacked archives, or a single one."""

    places: ClassVar = {"image": ("Fg-Bg", "fg-bg"), "mask": ("Fg-Bg-Mask", "fg-bg-mask"), "depth": ("Depth", "depth")}

    def _find_folders(self, kind: str) -> list[Path]:
        return find_folders(self.root, self.name_folder(kind))
