"""Pre-composited samples in numbered files, the layout of the first published system.

images/fgbgNNNNNN.jpg   masks/maskNNNNNN.jpg   depth/fgbgNNNNNN.jpg   NNNNNN counts from 000001 (or 0, where there is a 0)

Backgrounds and cut-outs have no names: the background is (number - 1) // composites_per_background, and within a background the
composites are grouped by cut-out, composites_per_cutout each. The folder named by `backgrounds`, if any, contains the clean
backgrounds in order of their numbers: sorted by name, with digits compared as numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from depthmask.base.errors import UserError
from depthmask.data.formats import SUFFIXES_OF
from depthmask.data.sample import Origin
from depthmask.sources.layout import add_once, list_pictures, match_names, scan_pictures
from depthmask.sources.pre_composited import PreCompositedSource
from depthmask.sources.unread import find_misspelt


class FlatNumberedSource(PreCompositedSource):
    """A folder in the layout above; a composite's key is its number in six digits."""

    # kind: folder, prefix
    places: ClassVar = {"image": ("images", "fgbg"), "mask": ("masks", "mask"), "depth": ("depth", "fgbg")}

    def name_folder(self, kind: str) -> str:
        return self.places[kind][0]

    def _find_folders(self, kind: str) -> list[Path]:
        folder = self.root / self.name_folder(kind)
        if not folder.is_dir() and kind != "depth":
            raise UserError(f"{folder}: no such folder{find_misspelt(folder)}")
        return [folder] if folder.is_dir() else []

    def _list(self, kind: str) -> dict[str, str]:
        prefix, pictures = self.places[kind][1], {}
        for folder in self._find_folders(kind):
            found = scan_pictures(folder, SUFFIXES_OF[kind], self.bad)
            form = f"{prefix}NUMBER"
            for stem, match in match_names(found, re.compile(rf"{prefix}(\d+)", re.ASCII), folder, form, self.bad).items():
                add_once(pictures, f"{int(match[1]):06d}", f"{folder}/{found[stem]}")
        return pictures

    def _list_clean(self) -> dict[str, Path]:
        if self.download.backgrounds is None:
            return {}
        pictures = list_pictures(self.root / self.download.backgrounds)
        in_order = sorted(pictures, key=_split_digits)
        return {f"bg{number:04d}": pictures[stem] for number, stem in enumerate(in_order)}

    def _describe(self, key: str) -> Origin:
        index = int(key) - (0 if self._counts_from_zero else 1)
        if self.download.composites_per_part is not None:
            index %= self.download.composites_per_part
        background, within = divmod(index, self.download.composites_per_background)
        per_cutout = self.download.composites_per_cutout
        cutout = None if per_cutout is None else f"fg{within // per_cutout:04d}"
        return Origin(key, f"bg{background:04d}", cutout)

    def _place_depth(self, picture: Path) -> Path:
        (_, prefix), (folder, depth_prefix) = self.places["image"], self.places["depth"]
        return picture.parents[1] / folder / f"{depth_prefix}{picture.name.removeprefix(prefix)}"

    @property
    def _counts_from_zero(self) -> bool:
        return "000000" in self._images

    def _skip(self, key: str) -> None:
        if int(key) == 0 and key in self._images:
            raise UserError(f"{self._images[key]}: number 0 cannot be skipped, because numbering starts there; fix it")
        super()._skip(key)


def _split_digits(stem: str) -> list[tuple[int, int | str]]:
    """A sort key that compares digits as numbers: bg2 before bg10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", stem) if part]
