"""Pre-composited samples: what is the same however their files are named.

A layout says which file is which (`_list`, `_list_bare`) and what a composite was made of (`_describe`); pairing, checking,
reading and looking up the clean background are here. Training does not read them: it reads the store that is packed from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.data.batch import ByteBatch
from depthmask.data.images import decode_depth, measure_picture, read_depth, read_grey, read_rgb, resize_photo
from depthmask.data.sample import Background, Origin
from depthmask.params import DownloadParams
from depthmask.sources.layout import BadSamples, match_partners, require_same_size, show_names


@dataclass(frozen=True)
class FileMaps:
    """The pictures of a composite, all of one height and width, as they are in the files.

    image: uint8 H x W x 3. alpha: float32 H x W, 0..1. raw_depth: uint8 or uint16 H x W, as stored; None without depth maps.
    """

    image: np.ndarray
    alpha: np.ndarray
    raw_depth: np.ndarray | None


class PreCompositedSource:
    """`composites` are sorted by key; `warnings` and `skipped` are complete when `check` has come to its end.

    Raises:
        UserError: a folder or a partner of a picture is missing, names do not fit, or the clean background of one is missing.
    """

    backgrounds = cutouts = ()

    def __init__(self, root: Path, download: DownloadParams):
        self.root, self.scale, self.download = root, download.depth, download
        self.bad = BadSamples(root, download.on_bad_sample == "skip")
        self.warnings: list[str] = []
        self._images, self._masks, self._depths = (self._list(kind) for kind in ("image", "mask", "depth"))
        for kind, pictures in (("image", self._images), ("mask", self._masks)):
            if not pictures:
                raise UserError(f"{root}: no {kind}s in {self.name_folder(kind)}; is it of the layout {download.source}?")
        self.has_depth = bool(self._depths)
        unmatched = match_partners(self._images, self._masks, root / self.name_folder("mask"), "mask", self.bad)
        if self.has_depth:
            unmatched |= match_partners(self._images, self._depths, root / self.name_folder("depth"), "depth map", self.bad)
        else:
            self.warnings.append(f"no depth maps in {self.name_folder('depth')}: only masks can be learnt and scored")
        for key in unmatched:
            self._leave_out(key)
        keys = sorted(self._images, key=lambda key: (len(key), key))
        self.composites = tuple(self._describe(key) for key in keys)
        self._bare = self._list_bare()
        self.has_backgrounds = bool(self._bare)
        self._require_bare()

    def name_folder(self, kind: str) -> str:
        """Where the layout has the pictures of a kind (image, mask, depth), relative to the source, as messages say it."""
        raise NotImplementedError

    def _list(self, kind: str) -> dict[str, str]:
        """Paths of the pictures of a kind by the composite's key; empty where there are none."""
        raise NotImplementedError

    def _list_bare(self) -> dict[str, Path]:
        """The clean backgrounds by the names that `_describe` gives them; empty where there are none."""
        raise NotImplementedError

    def _describe(self, key: str) -> Origin:
        raise NotImplementedError

    def _place_depth(self, picture: Path) -> Path:
        """Where the layout has the depth map of a composite, with any suffix."""
        raise NotImplementedError

    @property
    def skipped(self) -> list[dict[str, str]]:
        """What was left out and why, as {"key", "reason"}."""
        return self.bad.listed

    def files(self) -> list[Path]:
        """Every file that belongs to the source."""
        composites = [Path(file) for group in (self._images, self._masks, self._depths) for file in group.values()]
        return composites + list(self._bare.values())

    def check(self) -> Iterator[str]:
        """Look at the header of every picture, and read the clean backgrounds, yielding the key of each composite.

        What only decoding shows is found by whoever decodes. UserError at the first bad file; under `skip` a bad
        composite is listed and left out. A bad background is an error all the same: thousands of composites hang on it.
        """
        for name in self._bare:
            self.read_background(name)
        left_out = set()
        for composite in self.composites:
            try:
                self._check_headers(composite.key)
            except UserError as error:
                self.bad.meet(error, [composite.key])
                left_out.add(composite.key)
                self._leave_out(composite.key)
            yield composite.key
        self.composites = tuple(c for c in self.composites if c.key not in left_out)
        self.bad.require_most_good(len(self.composites))

    def _check_headers(self, key: str) -> None:
        """UserError unless all pictures of a composite can be opened and are of one size."""
        groups = (self._images, self._masks, *([self._depths] if self.has_depth else []))
        sizes = {measure_picture(Path(group[key])) for group in groups}
        if None in sizes or len(sizes) > 1:
            self.read_maps(key)  # which says what is wrong

    def read_background(self, key: str) -> Background:
        """A clean background at its own size; its depth is not known."""
        return Background(key, read_rgb(self._bare[key]), None, None)

    def read_maps(self, key: str) -> FileMaps:
        """The pictures of a composite at their own size.

        Raises:
            UserError: one of them is missing, damaged, or of another size than the image.
        """
        image_path, mask_path = Path(self._images[key]), Path(self._masks[key])
        image, mask = read_rgb(image_path), read_grey(mask_path)
        require_same_size(image_path, image.shape, mask_path, mask.shape, "mask")
        alpha = mask.astype(np.float32) / (65535 if mask.dtype == np.uint16 else 255)
        if not self.has_depth:
            return FileMaps(image, alpha, None)
        depth_path = Path(self._depths[key])
        raw_depth = read_depth(depth_path, self.scale)
        require_same_size(image_path, image.shape, depth_path, raw_depth.shape, "depth map")
        return FileMaps(image, alpha, raw_depth)

    def decode_depth(self, maps: FileMaps) -> tuple[np.ndarray, np.ndarray]:
        """The depth of a composite, 0..1, and where it is known, at its own size."""
        if maps.raw_depth is None:
            return np.zeros(maps.alpha.shape, np.float32), np.zeros(maps.alpha.shape, bool)
        return decode_depth(maps.raw_depth, self.scale)

    def read_composite(self, origin: Origin) -> ByteBatch:
        """A composite at its own size as a batch of one, with its clean background if the source has any."""
        maps = self.read_maps(origin.key)
        depth, valid = self.decode_depth(maps)
        mask = np.round(maps.alpha * 255).astype(np.uint8)
        background = self.find_bare(origin.background, *mask.shape)[None] if self.has_backgrounds else None
        return ByteBatch(maps.image[None], mask[None], depth[None], valid[None], background, [origin])

    def find_bare(self, background: str, height: int, width: int) -> np.ndarray:
        """The clean background of composites of that size, stretched to it as the whole was when they were made."""
        return resize_photo(self.read_background(background).image, width, height)

    def _require_bare(self) -> None:
        named = {composite.background for composite in self.composites}
        missing = named - self._bare.keys() if self.has_backgrounds else set()
        if missing:
            raise UserError(
                f"{next(iter(self._bare.values())).parent}: clean background missing for {len(missing)} of {len(named)}"
                f" backgrounds: {show_names(missing)}; add them, or correct what download says of the numbering"
            )

    def list_unlabelled(self) -> list[tuple[str, Path, Path]]:
        """(key, picture, where its depth map would lie) of each composite, for a source that has no depth maps."""
        pictures = {key: Path(picture) for key, picture in self._images.items()}
        return [(key, picture, self._place_depth(picture).with_suffix(".png")) for key, picture in pictures.items()]

    def leave_out(self, key: str) -> None:
        """Leave out a composite's files; `composites` are those of before."""
        self._leave_out(key)

    def _leave_out(self, key: str) -> None:
        for group in (self._images, self._masks, self._depths):
            group.pop(key, None)
