"""Ready-made composites: what is the same however their files are named.

A layout says which file is which (`_list`, `_list_bare`) and what a composite was made of (`_describe`); pairing, reading,
looking up the bare background, and checking are here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from depthmask.errors import UserError
from depthmask.params import DownloadParams
from depthmask.sample import Background, Sample
from depthmask.sources.images import decode_depth, read_depth, read_grey, read_rgb, resize_photo
from depthmask.sources.layout import BadSamples, Composite, match_partners, require_same_size, show_names

GREYS = (32, 224)  # of 256: a mask has next to no pixels between them, a depth map has many
LOOKED_AT = 4  # composites of each background that are compared with it
UNLIKE_LEVELS = 32  # mean difference from the bare background, of 255, above which a composite cannot show it
OUTSIDE_MAX = 0.02  # of alpha: what counts as wholly outside of the cut-out; JPEG leaves a little noise there


class ReadyMadeSource:
    """`composites` are sorted by key; `warnings` and `skipped` are complete when `check` has come to its end.

    Raises:
        UserError: a folder or a partner of a picture is missing, names do not fit, or the bare background of one is missing.
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
        """The bare backgrounds by the names that `_describe` gives them; empty where there are none."""
        raise NotImplementedError

    def _describe(self, key: str) -> Composite:
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
        """Read everything once, yielding the key of each composite; UserError at the first file that is no good.

        Under `skip` a bad composite is listed and left out. A bad background is an error all the same: thousands of
        composites hang on it.
        """
        for name in self._bare:
            self.read_background(name)
        looks = _Looks()
        left_out = set()
        for composite in self.composites:
            try:
                sample = self.read_composite(composite)
            except UserError as error:
                self.bad.meet(error, [composite.key])
                left_out.add(composite.key)
                self._leave_out(composite.key)
            else:
                looks.look(sample, self._find_bare(sample) if self._wants_look(looks, composite) else None)
            yield composite.key
        self.composites = tuple(c for c in self.composites if c.key not in left_out)
        self.bad.require_most_good(len(self.composites))
        self.warnings += looks.describe(self.name_folder("mask"), self.name_folder("depth"))

    def read_background(self, key: str) -> Background:
        """A bare background at its own size; its depth is not known."""
        return Background(key, read_rgb(self._bare[key]), None, None)

    def read_composite(self, composite: Composite, with_background: bool = False) -> Sample:
        """The composite at its own size, with the bare background brought to that size if asked."""
        key = composite.key
        image_path, mask_path = Path(self._images[key]), Path(self._masks[key])
        image, mask = read_rgb(image_path), read_grey(mask_path)
        require_same_size(image_path, image.shape, mask_path, mask.shape, "mask")
        alpha = mask.astype(np.float32) / (65535 if mask.dtype == np.uint16 else 255)
        depth, valid = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, bool)
        if self.has_depth:
            depth_path = Path(self._depths[key])
            raw = read_depth(depth_path, self.scale)
            require_same_size(image_path, image.shape, depth_path, raw.shape, "depth map")
            depth, valid = decode_depth(raw, self.scale)
        sample = Sample(key, image, alpha, depth, valid, None, composite.background, composite.cutout)
        if not with_background:
            return sample
        return Sample(key, image, alpha, depth, valid, self._find_bare(sample), composite.background, composite.cutout)

    def _find_bare(self, sample: Sample) -> np.ndarray:
        """The bare background of a composite, stretched to its size as the whole of the background was when it was made."""
        height, width = sample.image.shape[:2]
        return resize_photo(self.read_background(sample.background_key).image, width, height)

    def _wants_look(self, looks: _Looks, composite: Composite) -> bool:
        return self.has_backgrounds and looks.num_compared[composite.background] < LOOKED_AT

    def _require_bare(self) -> None:
        named = {composite.background for composite in self.composites}
        missing = named - self._bare.keys() if self.has_backgrounds else set()
        if missing:
            raise UserError(
                f"{next(iter(self._bare.values())).parent}: bare background missing for {len(missing)} of {len(named)}"
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


class _Looks:
    """What composites look like taken together: no single file is wrong, but folders may be, or the numbering."""

    def __init__(self) -> None:
        self.num_seen, self.num_swapped = 0, 0
        self.num_compared: Counter[str] = Counter()
        self.unlike: list[str] = []

    def look(self, sample: Sample, bare: np.ndarray | None) -> None:
        self.num_seen += 1
        mask_greys = _measure_greys(sample.mask)
        depth_greys = _measure_greys(sample.depth[sample.valid]) if sample.valid.any() else 1.0
        self.num_swapped += mask_greys > 0.5 and depth_greys < 0.2
        if bare is not None:
            self.num_compared[sample.background_key] += 1
            outside = sample.mask <= OUTSIDE_MAX
            if outside.any() and np.abs(sample.image[outside].astype(np.int16) - bare[outside]).mean() > UNLIKE_LEVELS:
                self.unlike.append(sample.key)

    def describe(self, masks: str, depths: str) -> list[str]:
        """A line for each thing that is probably wrong."""
        lines = []
        if 2 * self.num_swapped > self.num_seen:
            lines.append(
                f"in {self.num_swapped} of {self.num_seen} composites the mask looks like a depth map and the depth map like a"
                f" mask: are {masks} and {depths} swapped?"
            )
        num_compared = sum(self.num_compared.values())
        if 10 * len(self.unlike) > num_compared:
            lines.append(
                f"{len(self.unlike)} of {num_compared} composites that were compared do not show their bare background outside"
                f" the mask ({show_names(self.unlike)}): are the backgrounds in the order of their numbers?"
            )
        return lines


def _measure_greys(values: np.ndarray) -> float:
    """The part of the pixels, 0..1 of white, that are neither nearly black nor nearly white."""
    low, high = (level / 255 for level in GREYS)
    return float(((values > low) & (values < high)).mean())
