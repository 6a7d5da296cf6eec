"""What composites look like taken together: no single file is wrong, but folders may be, or the numbering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from depthmask.data.sample import Origin
from depthmask.sources.layout import show_names
from depthmask.sources.pre_composited import FileMaps

GREYS = (32, 224)  # of 256: a mask has next to no pixels between them, a depth map has many
LOOKED_AT = 4  # composites of each background that are compared with it
UNLIKE_LEVELS = 32  # mean difference from the clean background, of 255, above which a composite cannot show it
OUTSIDE_MAX = 0.02  # of alpha: what counts as wholly outside of the cut-out; JPEG leaves a little noise there


@dataclass
class SanityChecks:
    """compared: of the first LOOKED_AT composites of each background: its key, and whether it is unlike the clean one."""

    num_seen: int = 0
    num_swapped: int = 0
    compared: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)

    def wants_clean(self, background: str) -> bool:
        """Whether the next composite of a background is to be compared with the clean one."""
        return len(self.compared.get(background, ())) < LOOKED_AT

    def add(self, origin: Origin, maps: FileMaps, depth: tuple[np.ndarray, np.ndarray], clean: np.ndarray | None) -> None:
        """depth: values and where they are known. clean: the clean background at the composite's size, if to be compared."""
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
        """A line for each thing that is probably wrong; masks, depths: how the layout calls their folders."""
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
                f"{len(unlike)} of {num_compared} composites that were compared do not show their clean background outside"
                f" the mask ({show_names(unlike)}): are the backgrounds in the order of their numbers?"
            )
        return lines


def merge_checks(parts: Iterable[dict[str, Any]]) -> SanityChecks:
    """What one pass over all composites would have seen, from what was seen of each part, in the order of the parts.

    parts: the fields of `SanityChecks`, as they came back from JSON.
    """
    merged = SanityChecks()
    compared: dict[str, list[tuple[str, bool]]] = {}
    seen: Counter[str] = Counter()
    for part in parts:
        seen.update({name: part[name] for name in ("num_seen", "num_swapped")})
        for background, listed in part["compared"].items():
            compared.setdefault(background, []).extend((key, unlike) for key, unlike in listed)
    merged.num_seen, merged.num_swapped = seen["num_seen"], seen["num_swapped"]
    merged.compared = {background: listed[:LOOKED_AT] for background, listed in compared.items()}
    return merged


def _measure_greys(values: np.ndarray) -> float:
    """The part of the pixels, 0..1 of white, that are neither nearly black nor nearly white."""
    low, high = (level / 255 for level in GREYS)
    return float(((values > low) & (values < high)).mean())
