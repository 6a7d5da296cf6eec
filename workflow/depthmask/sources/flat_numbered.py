"""Ready-made composites in numbered files, the layout of the first published system.

images/fgbgNNNNNN.jpg   masks/maskNNNNNN.jpg   depth/fgbgNNNNNN.jpg   NNNNNN counts from 000001

Neither background nor cut-out has a name: (number - 1) // composites_per_background is the background, and within it
composites follow each other by cut-out, composites_per_cutout each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from depthmask.errors import UserError
from depthmask.params import DownloadParams
from depthmask.sample import Sample
from depthmask.sources.images import decode_depth, read_grey, read_rgb
from depthmask.sources.layout import Composite, list_pictures, require_same_size, require_same_stems


class FlatNumberedSource:
    """A folder in the layout above. `composites` are in the order of their numbers; there are no bare backgrounds."""

    backgrounds = cutouts = ()
    has_backgrounds = False
    has_depth = True

    def __init__(self, root: Path, download: DownloadParams):
        self.root, self.scale = root, download.depth
        self._images = _list_numbered(root / "images", "fgbg")
        self._masks = _list_numbered(root / "masks", "mask")
        self._depths = _list_numbered(root / "depth", "fgbg")
        require_same_stems(self._images, self._masks, root / "masks", "mask")
        require_same_stems(self._images, self._depths, root / "depth", "depth map")
        self.composites = tuple(
            _describe_composite(key, download.composites_per_background, download.composites_per_cutout) for key in self._images
        )

    def files(self) -> list[Path]:
        """Every file that belongs to the source."""
        return [file for group in (self._images, self._masks, self._depths) for file in group.values()]

    def check(self) -> Iterator[str]:
        """Read everything once, yielding each key; UserError at the first file that is no good."""
        for composite in self.composites:
            self.read_composite(composite)
            yield composite.key

    def read_composite(self, composite: Composite) -> Sample:
        """The composite at its own size."""
        key = composite.key
        image, mask, raw = read_rgb(self._images[key]), read_grey(self._masks[key]), read_grey(self._depths[key])
        require_same_size(self._images[key], image.shape, self._masks[key], mask.shape, "mask")
        require_same_size(self._images[key], image.shape, self._depths[key], raw.shape, "depth map")
        depth, valid = decode_depth(raw, self.scale)
        alpha = mask.astype(np.float32) / (65535 if mask.dtype == np.uint16 else 255)
        return Sample(key, image, alpha, depth, valid, None, composite.background, composite.cutout)


def _list_numbered(folder: Path, prefix: str) -> dict[str, Path]:
    """The numbered pictures of a folder by their digits."""
    numbered = {}
    for stem, file in list_pictures(folder).items():
        match = re.fullmatch(rf"{prefix}(\d+)", stem)
        if not match:
            raise UserError(f"{file}: a name that does not fit {prefix}NNNNNN{file.suffix}; rename or remove it")
        numbered[match[1]] = file
    return dict(sorted(numbered.items(), key=lambda item: int(item[0])))


def _describe_composite(key: str, per_background: int, per_cutout: int | None) -> Composite:
    background, within = divmod(int(key) - 1, per_background)
    cutout = None if per_cutout is None else f"fg{within // per_cutout:04d}"
    return Composite(key, f"bg{background:04d}", cutout)
