"""Checks over all composites: no single file is wrong, but values may not be alpha or depth, folders may be swapped, masks
inverted, or the numbering off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from depthmask.data.sample import Origin
from depthmask.sources.layout import show_names
from depthmask.sources.plausibility import Finding, judge_depth, judge_masks
from depthmask.sources.value_statistics import DepthValues, MaskValues

if TYPE_CHECKING:
    from depthmask.sources.pre_composited import FileMaps, PreCompositedSource

GREYS = (32, 224)  # of 256: a mask has hardly any pixels between them, a depth map has many
NUM_COMPARED = 4  # composites per background that are compared with it
UNLIKE_LEVELS = 32  # mean difference, of 255, above which a composite does not show this clean background
INVERSE_TIMES = 2  # as different outside the mask as inside: then the mask is inverted
OUTSIDE_MAX = 0.02  # of alpha: what counts as outside the cut-out; JPEG leaves a little noise there

# key of a composite, whether it differs from its clean background outside the mask, and whether only there
Compared = tuple[str, bool, bool]


@dataclass
class SanityChecks:
    """compared: the first NUM_COMPARED composites of each background. masks, depths: the values of all composites."""

    num_swapped: int = 0
    compared: dict[str, list[Compared]] = field(default_factory=dict)
    masks: MaskValues = field(default_factory=MaskValues)
    depths: DepthValues = field(default_factory=DepthValues)

    def look_at(self, source: PreCompositedSource, origin: Origin, maps: FileMaps) -> None:
        """Check a composite of a source."""
        clean = None
        if source.has_clean(origin) and len(self.compared.get(origin.background, ())) < NUM_COMPARED:
            clean = source.find_clean(origin.background, *maps.size_px)
        self.add(origin, maps, source.decode_depth(maps), clean, source.name_files(origin.key))

    def add(
        self,
        origin: Origin,
        maps: FileMaps,
        depth: tuple[np.ndarray, np.ndarray],
        clean: np.ndarray | None,
        names: dict[str, str],
    ) -> None:
        """Check a composite.

        depth: values and where they are known. clean: its background at its size, if to be compared. names: of its files, by
        kind.
        """
        values, valid = depth
        if maps.raw_depth is not None:
            self.depths.add(maps.raw_depth, values, valid, names["depth"], maps.num_band_px)
        if maps.alpha is None:
            return
        self.masks.add(maps.alpha, names["mask"])
        mask_greys = _measure_greys(maps.alpha)
        depth_greys = _measure_greys(values[valid]) if valid.any() else 1.0
        self.num_swapped += bool(mask_greys > 0.5 and depth_greys < 0.2)
        if clean is not None:
            self.compared.setdefault(origin.background, []).append((origin.key, *_compare(maps, clean)))

    def judge(self, source: PreCompositedSource) -> list[Finding]:
        """A finding for each likely fault."""
        mask_folder, depth_folder = source.name_folder("mask"), source.name_folder("depth")
        if 2 * self.num_swapped > self.masks.num:
            line = f"in {self.num_swapped} of {self.masks.num} {source.noun} the mask looks like a depth map and the depth map"
            return [Finding(f"{line} like a mask: are {mask_folder} and {depth_folder} swapped?")]
        compared = [listed for background in self.compared.values() for listed in background]
        unlike = [key for key, is_unlike, _ in compared if is_unlike]
        num_inverse = sum(is_inverse for *_, is_inverse in compared)
        findings = judge_masks(self.masks, mask_folder, source.download.mask, num_inverse, len(compared))
        if 10 * len(unlike) > len(compared) and not any(finding.is_error for finding in findings):
            hint = "are the backgrounds sorted by number?"
            if source.may_lack_truth:
                hint = "were they taken from the same place, in the same light?"
            line = f"{len(unlike)} of {len(compared)} compared {source.noun} do not show their clean background outside the mask"
            findings.append(Finding(f"{line} ({show_names(unlike)}): {hint}"))
        return findings + judge_depth(self.depths, source.scale, depth_folder)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, text, lists and mappings."""
        plain = {"num_swapped": self.num_swapped, "compared": self.compared}
        return plain | {"masks": self.masks.to_json(), "depths": self.depths.to_json()}


def merge_checks(shards: Iterable[dict[str, Any]]) -> SanityChecks:
    """Merge the checks of all shards, in order, to those of a single pass over all composites.

    shards: as `SanityChecks.to_json` gives them.
    """
    merged = SanityChecks()
    for shard in shards:
        merged.num_swapped += shard["num_swapped"]
        merged.masks.join(MaskValues.from_json(shard["masks"]))
        merged.depths.join(DepthValues.from_json(shard["depths"]))
        for background, listed in shard["compared"].items():
            merged.compared.setdefault(background, []).extend((key, *found) for key, *found in listed)
    merged.compared = {background: listed[:NUM_COMPARED] for background, listed in merged.compared.items()}
    return merged


def _compare(maps: FileMaps, clean: np.ndarray) -> tuple[bool, bool]:
    """Whether a composite differs from its clean background outside the mask, and whether it does so only there."""
    outside, inside = maps.alpha <= OUTSIDE_MAX, maps.alpha >= 1 - OUTSIDE_MAX
    far, near = (
        np.abs(maps.image[part].astype(np.int16) - clean[part]).mean() if part.any() else 0.0 for part in (outside, inside)
    )
    is_inverse = inside.any() and far > INVERSE_TIMES * near and near < UNLIKE_LEVELS / 2 and far > UNLIKE_LEVELS / 2
    return bool(far > UNLIKE_LEVELS), bool(is_inverse)


def _measure_greys(values: np.ndarray) -> float:
    """The fraction of pixels (0..1) that are neither nearly black nor nearly white."""
    low, high = (level / 255 for level in GREYS)
    return float(((values > low) & (values < high)).mean())
