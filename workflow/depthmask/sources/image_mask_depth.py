"""Photos with ground truth, such as RGB-D sets and hand-drawn masks: nothing is composited.

images/NAME.jpg       photos, any size
masks/NAME.png        their masks, 8 or 16 bit: 0 is background
depth/NAME.png        their depth maps, as declared in download.depth
background/NAME.jpg   the same view without the foreground

Files belong together by name, whatever the suffix. Every folder but images is optional, and so is every file in it: a photo may
have a mask, a depth map or both. What is missing is unknown, and left out of losses and scores. A photo with neither is not used.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from depthmask.base.errors import UserError
from depthmask.data.formats import SUFFIXES_OF
from depthmask.data.images import measure_picture, read_rgb
from depthmask.data.lossy import read_stored_depth
from depthmask.data.sample import Origin
from depthmask.sources.layout import list_pictures, require_same_size, scan_pictures, show_names
from depthmask.sources.pre_composited import FileMaps, PreCompositedSource
from depthmask.sources.unread import find_misspelt

FOLDERS = {"image": "images", "mask": "masks", "depth": "depth"}
BACKGROUNDS = "background"
WORDS = {"mask": "mask", "depth": "depth map", "background": "clean background"}
ASPECT_TOLERANCE = 0.01  # maps of another size than the photo must show the same view


class ImageMaskDepthSource(PreCompositedSource):
    """A folder in the layout above; the key of a photo is its name, and its background is its own."""

    noun = "photos"
    may_lack_truth = True

    def name_folder(self, kind: str) -> str:
        return FOLDERS[kind]

    @property
    def expected_folders(self) -> tuple[str, ...]:
        """The names of folders that the layout may have."""
        return (*FOLDERS.values(), BACKGROUNDS)

    def _list(self, kind: str) -> dict[str, str]:
        folder = self.root / FOLDERS[kind]
        if kind == "image":
            if not folder.is_dir():
                misspelt = find_misspelt(folder)
                raise UserError(f"{folder}: no such folder{misspelt}; image_mask_depth needs images/ and masks/ or depth/")
            return {stem: str(path) for stem, path in list_pictures(folder, bad=self.bad).items()}
        found = scan_pictures(folder, SUFFIXES_OF[kind], self.bad) if folder.is_dir() else {}
        return {stem: f"{folder}/{name}" for stem, name in found.items()}

    def _list_clean(self) -> dict[str, Path]:
        folder = self.root / BACKGROUNDS
        found = scan_pictures(folder, bad=self.bad) if folder.is_dir() else {}
        clean = {stem: folder / name for stem, name in found.items()}
        self._meet_strays(clean, "background", folder)
        used = {key: path for key, path in clean.items() if key in self._images}
        if 0 < len(used) < len(self._images):
            self.warnings.append(
                f"{len(used)} of {len(self._images)} photos have a clean background: with model.background_input: true only these"
                " are used"
            )
        return used

    def _pair(self) -> None:
        self._without_truth: set[str] = set()
        groups = {"mask": self._masks, "depth": self._depths}
        if not self._masks and not self._depths:
            misspelt = find_misspelt(self.root / FOLDERS["mask"]) or find_misspelt(self.root / FOLDERS["depth"])
            raise UserError(f"{self.root}: no images in masks/ or depth/{misspelt}; image_mask_depth needs at least one of them")
        for kind, group in groups.items():
            self._meet_strays(group, kind, self.root / FOLDERS[kind])
            for key in group.keys() - self._images.keys():
                del group[key]
        self._without_truth = self._images.keys() - self._masks.keys() - self._depths.keys()
        num = len(self._images)
        for key in self._without_truth:
            self._skip(key)
        if self._without_truth:
            self.warnings.append(
                f"{len(self._without_truth)} of {num} photos have neither a mask nor a depth map and are not used:"
                f" {show_names(self._without_truth)}"
            )
        for kind, group in groups.items():
            if not group:
                only = {"mask": "depth", "depth": "masks"}[kind]
                self.warnings.append(f"no {WORDS[kind]}s in {FOLDERS[kind]}: only {only} can be learnt and scored")
            elif len(group) < len(self._images):
                num_known = f"{len(group)} of {len(self._images)} photos"
                self.warnings.append(f"{num_known} have a {WORDS[kind]}; the others do not count in {kind} losses and scores")

    def _meet_strays(self, group: dict, kind: str, folder: Path) -> None:
        """Files without a photo: an error, or listed with `skip`; always an error if none of them has one."""
        strays = group.keys() - self._images.keys() - self._without_truth
        if not strays:
            return
        what = WORDS[kind]
        error = UserError(
            f"{folder}: no photo in images/ for {len(strays)} of {len(group)} {what}s: {show_names(strays)}; a {what} needs the"
            f" name of its photo, such as {next(iter(self._images))}"
        )
        if len(strays) == len(group):
            raise error
        self.bad.meet(error, sorted(strays), f"{folder}: {what} without a photo")

    def _require_clean(self) -> None:
        """A photo may lack one."""

    def _check_clean(self) -> None:
        """Each is checked with its photo, which alone depends on it."""

    def _describe(self, key: str) -> Origin:
        return Origin(key, key)

    def _place_depth(self, picture: Path) -> Path:
        return self.root / FOLDERS["depth"] / picture.name

    def _check_headers(self, key: str) -> None:
        super()._check_headers(key)
        if key in self._clean:
            photo, clean = self.read_photo(key), self.read_background(key).image
            _require_same_view(Path(self._images[key]), photo.shape, self._clean[key], clean.shape, WORDS["background"])

    def read_photo(self, key: str) -> np.ndarray:
        """The photo alone, uint8 H x W x 3."""
        return read_rgb(Path(self._images[key]))

    def read_maps(self, key: str) -> FileMaps:
        """Read what is known of a photo; maps of another size, which must show the same view, are resized to the photo's.

        Raises:
            UserError: a file is missing or damaged, or a map has another aspect ratio than the photo.
        """
        photo = self.read_photo(key)

        def fit(values: np.ndarray, file: str, kind: str, method: int) -> np.ndarray:
            _require_same_view(Path(self._images[key]), photo.shape, Path(file), values.shape, WORDS[kind])
            height, width = photo.shape[:2]
            return values if values.shape == (height, width) else cv2.resize(values, (width, height), interpolation=method)

        alpha, depth, num_band_px = None, None, None
        if key in self._masks:
            alpha = fit(self.read_alpha(Path(self._masks[key])), self._masks[key], "mask", cv2.INTER_AREA)
        if key in self._depths:
            depth, num_band_px = read_stored_depth(Path(self._depths[key]), self.scale)
            # never mixed: a mean of two depths, or of a depth and the value for unknown, is the depth of nothing
            depth = fit(depth, self._depths[key], "depth", cv2.INTER_NEAREST_EXACT)
        return FileMaps(photo, alpha, depth, num_band_px)

    def _skip(self, key: str) -> None:
        super()._skip(key)
        self._clean.pop(key, None)


def _require_same_view(path: Path, shape: tuple[int, ...], partner: Path, partner_shape: tuple[int, ...], what: str) -> None:
    """Raise UserError unless both have the same aspect ratio."""
    (height, width), (partner_height, partner_width) = shape[:2], partner_shape[:2]
    if abs(partner_width * height / (partner_height * width) - 1) <= ASPECT_TOLERANCE:
        return
    if measure_picture(path) == (partner_height, partner_width):
        raise UserError(
            f"{partner}: {what} has {partner_width} x {partner_height} px and lies on its side: {path.name} is turned upright by"
            f" its EXIF data to {width} x {height} px; turn the {what} too"
        )
    require_same_size(path, shape, partner, partner_shape, what)
