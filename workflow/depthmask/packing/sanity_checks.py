"""Sanity checks over all composites: no single file is wrong, but folders may be swapped, or the numbering off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from depthmask.data.sample import Origin
from depthmask.sources.layout import show_names
from depthmask.sources.pre_composited import FileMaps

GREYS = (32, 224)  # of 256: a mask has hardly any pixels between them, a depth map has many
NUM_COMPARED = 4  # composites per background that are compared with it
UNLIKE_LEVELS = 32  # mean difference, of 255, above which a composite does not show this clean background
OUTSIDE_MAX = 0.02  # of alpha: what counts as outside the cut-out; JPEG leaves a little noise there


@dataclass
class SanityChecks:
    """compared: for the first NUM_COMPARED composites of each background: key, and whether it differs from the clean one."""

    num_seen: int = 0
    num_swapped: int = 0
    compared: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)

    def wants_clean(self, background: str) -> bool:
        """Whether the next composite of a background is to be compared with the clean one."""
        return len(self.compared.get(background, ())) < NUM_COMPARED

    def add(self, origin: Origin, maps: FileMaps, depth: tuple[np.ndarray, np.ndarray], clean: np.ndarray | None) -> None:
        """Check a composite. depth: values and where they are known. clean: its background at its size, if to be compared."""
        self.num_seen += 1
        values, valid = depth
        mask_greys = _measure_greys(maps.alpha)
        depth_greys = _measure_greys(values[valid]) if valid.any() else 1.0
        self.num_swapped += bool(mask_greys > 0.5 and depth_greys < 0.2)
        if clean is not None:
            outside = maps.alpha <= OUTSIDE_MAX
            unlike = outside.any() and np.abs(maps.image[outside].astype(np.int16) - clean[outside]).mean() > UNLIKE_LEVELS
            self.compared.setdefault(origin.background, []).append((origin.key, bool(unlike)))

    def describe(self, masks: str, depths: str) -> list[str]:
        """A line for each likely fault; masks, depths: the layout's folder names."""
        lines = []
        if 2 * self.num_swapped > self.num_seen:
            lines.append(
                f"in {self.num_swapped} of {self.num_seen} composites the mask looks like a depth map and the depth map like a"
                f" mask: are {masks} and {depths} swapped?"
            )
        num_compared = sum(map(len, self.compared.values()))
        unlike = [key for listed in self.compared.values() for key, is_unlike in listed if is_unlike]
        if 10 * len(unlike) > num_compared:
            lines.append(
                f"{len(unlike)} of {num_compared} compared composites do not show their clean background outside the"
                f" mask ({show_names(unlike)}): are the backgrounds sorted by number?"
            )
        return lines


def merge_checks(shards: Iterable[dict[str, Any]]) -> SanityChecks:
    """Merge the checks of all shards, in order, to those of a single pass over all composites.

    shards: the fields of `SanityChecks`, as read from JSON.
    """
    merged = SanityChecks()
    compared: dict[str, list[tuple[str, bool]]] = {}
    seen: Counter[str] = Counter()
    for shard in shards:
        seen.update({name: shard[name] for name in ("num_seen", "num_swapped")})
        for background, listed in shard["compared"].items():
            compared.setdefault(background, []).extend((key, unlike) for key, unlike in listed)
    merged.num_seen, merged.num_swapped = seen["num_seen"], seen["num_swapped"]
    merged.compared = {background: listed[:NUM_COMPARED] for background, listed in compared.items()}
    return merged


def _measure_greys(values: np.ndarray) -> float:
    """The fraction of pixels (0..1) that are neither nearly black nor nearly white."""
    low, high = (level / 255 for level in GREYS)
    return float(((values > low) & (values < high)).mean())
