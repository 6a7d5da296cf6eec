"""Pre-composited samples: everything that does not depend on how their files are named.

A layout says which file is which (`_list`, `_list_clean`) and what a composite was made of (`_describe`); pairing, checking,
reading and looking up the clean background are done here. Training reads the store packed from them instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.data.batch import ByteBatch
from depthmask.data.formats import FLOAT_SUFFIXES, SUFFIXES, SUFFIXES_OF
from depthmask.data.images import decode_depth, measure_picture, read_rgb, resize_photo
from depthmask.data.lossy import read_stored_depth
from depthmask.data.masks import read_mask
from depthmask.data.sample import Background, Origin
from depthmask.params import DownloadParams
from depthmask.sources.layout import BadSamples, choose_spread, match_partners, require_same_size, show_names
from depthmask.sources.plausibility import raise_errors
from depthmask.sources.sanity_checks import SanityChecks
from depthmask.sources.unread import describe_content, find_misspelt

NUM_SAMPLED = 96  # composites decoded when the source is checked; the others are when they are packed


@dataclass(frozen=True)
class FileMaps:
    """The images of a composite as stored in the files, all of one size.

    image: uint8 H x W x 3. alpha: float32 H x W, 0..1. raw_depth: uint8, uint16 or float32 H x W, as stored. None: not known.
    num_band_px: as in `StoredDepth`.
    """

    image: np.ndarray
    alpha: np.ndarray | None
    raw_depth: np.ndarray | None
    num_band_px: int | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[:2]


class PreCompositedSource:
    """`composites` are sorted by key; `warnings` and `skipped` are complete once `check` has finished.

    Raises:
        UserError: a folder, the partner of an image or a clean background is missing, or names do not fit.
    """

    backgrounds = cutouts = ()
    noun = "composites"  # what its samples are called
    may_lack_truth = False  # whether masks, depth maps and clean backgrounds of single images may be missing

    def __init__(self, root: Path, download: DownloadParams):
        self.root, self.scale, self.download = root, download.depth, download
        self.bad = BadSamples(root, download.on_bad_sample == "skip")
        self.warnings: list[str] = []
        self._images, self._masks, self._depths = (self._list(kind) for kind in ("image", "mask", "depth"))
        self._clean: dict[str, Path] = {}
        self._pair()
        self.has_depth = bool(self._depths)
        keys = sorted(self._images, key=lambda key: (len(key), key))
        self.composites = tuple(self._describe(key) for key in keys)
        self._clean = self._list_clean()
        self.has_backgrounds = bool(self._clean)
        self._require_clean()

    def _pair(self) -> None:
        """Skip what lacks a partner; raises UserError as the class does."""
        for kind, pictures in (("image", self._images), ("mask", self._masks)):
            if not pictures:
                where = self.name_folder(kind)
                place = self.root / where
                what = f" ({describe_content(place)})" if place.is_dir() else find_misspelt(place)
                raise UserError(f"{self.root}: no {kind}s in {where}{what}; is the layout really {self.download.source}?")
        unmatched = match_partners(self._images, self._masks, self.root / self.name_folder("mask"), "mask", self.bad)
        if self._depths:
            folder = self.root / self.name_folder("depth")
            unmatched |= match_partners(self._images, self._depths, folder, "depth map", self.bad)
        else:
            self.warnings.append(f"no depth maps in {self.name_folder('depth')}: only masks can be learnt and scored")
        for key in unmatched:
            self._skip(key)

    def name_folder(self, kind: str) -> str:
        """The layout's folder for a kind of image (image, mask, depth), relative to the source, for messages."""
        raise NotImplementedError

    def _list(self, kind: str) -> dict[str, str]:
        """Paths of the images of a kind by composite key; empty if there are none."""
        raise NotImplementedError

    def _list_clean(self) -> dict[str, Path]:
        """The clean backgrounds by the names that `_describe` uses; empty if there are none."""
        raise NotImplementedError

    def _describe(self, key: str) -> Origin:
        raise NotImplementedError

    def _place_depth(self, picture: Path) -> Path:
        """The layout's path for the depth map of a composite, with any suffix."""
        raise NotImplementedError

    @cached_property
    def may_hold_floats(self) -> bool:
        """Whether a depth map may be floating-point, or have more than 16 bits, by the suffixes."""
        return any(file.lower().endswith(FLOAT_SUFFIXES) for file in self._depths.values())

    @property
    def num_masks(self) -> int:
        """How many masks there are."""
        return len(self._masks)

    @property
    def num_depths(self) -> int:
        """How many depth maps there are."""
        return len(self._depths)

    @property
    def skipped(self) -> list[dict[str, str]]:
        """What was skipped and why, as {"key", "reason"}."""
        return self.bad.listed

    def files(self) -> list[Path]:
        """Every file that belongs to the source."""
        composites = [Path(file) for group in (self._images, self._masks, self._depths) for file in group.values()]
        return composites + list(self._clean.values())

    @property
    def expected_folders(self) -> tuple[str, ...]:
        """The names of folders that the layout may have."""
        backgrounds = [self.download.backgrounds] if self.download.backgrounds else []
        return (*(self.name_folder(kind).rpartition("/")[2] for kind in SUFFIXES_OF), *backgrounds)

    def list_folders(self) -> dict[Path, tuple[str, ...]]:
        """The folders that are read, each with the suffixes of the files read in it."""
        folders = {file.parent: SUFFIXES for file in self._clean.values()}
        for kind, group in zip(SUFFIXES_OF, (self._images, self._masks, self._depths), strict=True):
            folders |= {Path(folder): SUFFIXES_OF[kind] for folder in {file.rpartition(os.sep)[0] for file in group.values()}}
        return folders

    def check(self) -> Iterator[str]:
        """Check the header of every image and read the clean backgrounds, yielding the key of each composite.

        Faults that only decoding shows are found later. Raises UserError at the first bad file; with `skip`, a bad composite is
        listed and skipped. A bad background is always an error: thousands of composites depend on it.
        """
        self._check_clean()
        skipped_keys = set()
        for composite in self.composites:
            try:
                self._check_headers(composite.key)
            except UserError as error:
                self.bad.meet(error, [composite.key])
                skipped_keys.add(composite.key)
                self._skip(composite.key)
            yield composite.key
        self.composites = tuple(c for c in self.composites if c.key not in skipped_keys)
        self.bad.require_most_good(len(self.composites))
        raise_errors(self.sample_values().judge(self), self.download)  # warnings are those of the pack stage, which sees all

    def sample_values(self, num: int = NUM_SAMPLED) -> SanityChecks:
        """Look at the values of evenly spaced composites; bad ones are left to the pack stage.

        Raises:
            UserError: none of them can be read; the error of the first.
        """
        checks, errors = SanityChecks(), []
        for composite in choose_spread(self.composites, num):
            try:
                checks.look_at(self, composite, self.read_maps(composite.key))
            except UserError as error:
                errors.append(error)
        if errors and not checks.masks.num and not checks.depths.num:
            raise errors[0]
        return checks

    def _check_clean(self) -> None:
        for name in self._clean:
            self.read_background(name)

    def _check_headers(self, key: str) -> None:
        """Raise UserError unless all images of a composite can be opened and have the same size."""
        groups = (self._images, self._masks, self._depths)
        sizes = {measure_picture(Path(group[key])) for group in groups if key in group}
        if None in sizes or len(sizes) > 1:
            self.read_maps(key)  # raises the error

    def read_background(self, key: str) -> Background:
        """Read a clean background at its own size; its depth is unknown."""
        return Background(key, read_rgb(self._clean[key]), None, None)

    def read_maps(self, key: str) -> FileMaps:
        """Read the images of a composite at their own size.

        Raises:
            UserError: one of them is missing, damaged, or of another size than the image.
        """
        image_path, mask_path = Path(self._images[key]), Path(self._masks[key])
        image, alpha = read_rgb(image_path), self.read_alpha(mask_path)
        require_same_size(image_path, image.shape, mask_path, alpha.shape, "mask")
        if not self.has_depth:
            return FileMaps(image, alpha, None)
        depth_path = Path(self._depths[key])
        stored = read_stored_depth(depth_path, self.scale)
        require_same_size(image_path, image.shape, depth_path, stored.raw.shape, "depth map")
        return FileMaps(image, alpha, *stored)

    def read_alpha(self, path: Path) -> np.ndarray:
        """A mask file as float32 H x W, 0..1."""
        return read_mask(path, self.download.mask)

    def decode_depth(self, maps: FileMaps) -> tuple[np.ndarray, np.ndarray]:
        """Depth of a composite, 0..1, and where it is known, at its own size."""
        if maps.raw_depth is None:
            return np.zeros(maps.size_px, np.float32), np.zeros(maps.size_px, bool)
        return decode_depth(maps.raw_depth, self.scale)

    def read_composite(self, origin: Origin) -> ByteBatch:
        """Read a composite at its own size as a batch of one, with its clean background if the source has any."""
        maps = self.read_maps(origin.key)
        depth, valid = self.decode_depth(maps)
        known = maps.alpha is not None
        mask = np.round(maps.alpha * 255).astype(np.uint8) if known else np.zeros(maps.size_px, np.uint8)
        background = self.find_clean(origin.background, *maps.size_px)[None] if self.has_clean(origin) else None
        return ByteBatch(maps.image[None], mask[None], depth[None], valid[None], background, [origin], np.array([known]))

    def has_clean(self, origin: Origin) -> bool:
        """Whether a composite's clean background is known."""
        return origin.background in self._clean

    def name_files(self, key: str) -> dict[str, str]:
        """The files of a composite by kind (image, mask, depth), relative to the source."""
        groups = {"image": self._images, "mask": self._masks, "depth": self._depths}
        return {kind: Path(group[key]).relative_to(self.root).as_posix() for kind, group in groups.items() if key in group}

    def find_clean(self, background: str, height: int, width: int) -> np.ndarray:
        """The clean background stretched to the size of its composites, as it was when they were made."""
        return resize_photo(self.read_background(background).image, width, height)

    def _require_clean(self) -> None:
        named = {composite.background for composite in self.composites}
        missing = named - self._clean.keys() if self.has_backgrounds else set()
        if missing:
            raise UserError(
                f"{next(iter(self._clean.values())).parent}: clean background missing for {len(missing)} of {len(named)}"
                f" backgrounds: {show_names(missing)}; add them, or correct the numbering keys of download"
            )

    def list_unlabelled(self) -> list[tuple[str, Path, Path]]:
        """(key, image, path of its depth map) for each composite of a source without depth maps."""
        pictures = {key: Path(picture) for key, picture in self._images.items()}
        return [(key, picture, self._place_depth(picture).with_suffix(".png")) for key, picture in pictures.items()]

    def skip(self, key: str) -> None:
        """Skip the files of a composite; `composites` stays unchanged."""
        self._skip(key)

    def _skip(self, key: str) -> None:
        for group in (self._images, self._masks, self._depths):
            group.pop(key, None)
