"""Mixes the samples of several sources: how many of each, in which order, and all with the depth scale of the first.

A training sample's source is a function of (seed, epoch, index). Within a source it is the next one in the order that the source
has when trained on alone, so that packed samples come as often as each other, and none twice before all have come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from depthmask.data.batch import ABSOLUTE, ByteBatch
from depthmask.data.sample import Origin
from depthmask.keyed_random import MIXTURE, make_generator
from depthmask.loading.depth_scale import DepthScale
from depthmask.loading.sample_set import SampleSet

# the fraction of the golden ratio: any stretch of its multiples is spread evenly over 0..1
GOLDEN = (math.sqrt(5) - 1) / 2
BLOCK = 1 << 16  # samples whose sources are drawn at once


class MixedSet(SampleSet):
    """Samples of several sets, one a source. weights: of training; None for fixed samples, which are all there is of each set.

    Fixed samples of the sources alternate, so that the first few are of all.
    """

    def __init__(
        self,
        sets: Mapping[str, SampleSet],
        scales: Mapping[str, DepthScale],
        weights: Mapping[str, float] | None,
        **common,
    ):
        super().__init__(**common)
        self.names, self.sets, self.scales = list(sets), list(sets.values()), [scales[name] for name in sets]
        self._shares = None if weights is None else np.cumsum([weights[name] for name in sets]) / sum(weights.values())
        self._draws: Draws | None = None
        self._order = None if weights is not None else interleave([len(one) for one in self.sets])
        if self._order is not None:
            self.num_samples = len(self._order)

    def __getitem__(self, places: Sequence[tuple[int, int]]) -> ByteBatch:
        batch = super().__getitem__(places)
        if batch.relation is None:
            return batch
        # only now: augmentation moves `valid` with the picture
        is_absolute = (batch.relation == ABSOLUTE)[:, None, None]
        return replace(batch, valid=batch.valid & is_absolute, relative=batch.valid & ~is_absolute)

    def count_known(self) -> dict[str, int]:
        counts = [one.count_known() for one in self.sets]
        return {task: sum(count[task] for count in counts) for task in counts[0]}

    def _allocate(self, num_samples: int) -> ByteBatch:
        batch = super()._allocate(num_samples)
        if all(scale.relation == ABSOLUTE for scale in self.scales):
            return batch
        return replace(batch, relation=np.full(num_samples, ABSOLUTE, np.uint8))

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        found = [self._find_place(epoch, index) for epoch, index in zip(epochs, indices, strict=True)]
        for number, (name, one, scale) in enumerate(zip(self.names, self.sets, self.scales, strict=True)):
            members = [b for b, (source, _) in enumerate(found) if source == number]
            if not members:
                continue
            own = ByteBatch.allocate(len(members), one.size_px, one.size_px, batch.background is not None)
            one._fill(own, [epochs[b] for b in members], [found[b][1] for b in members])
            scale.convert(own.depth, own.valid)
            for kind in ("image", "mask", "depth", "valid", "background", "mask_known"):
                if getattr(own, kind) is not None:
                    getattr(batch, kind)[members] = getattr(own, kind)
            if batch.relation is not None:
                batch.relation[members] = scale.relation
            for b, origin in zip(members, own.origins, strict=True):
                batch.origins[b] = _name_origin(origin, name)

    def _find_place(self, epoch: int, index: int) -> tuple[int, int]:
        """The number of a sample's source, and its index there."""
        if self._order is not None:
            return tuple(self._order[index].tolist())
        if self._draws is None or self._draws.epoch != epoch:
            self._draws = Draws(self.seed, epoch, self._shares)
        return self._draws.find(index)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_draws": None}


class Draws:
    """Which source each training sample of an epoch is of, and how many samples that source has had before.

    shares: cumulative, ending with 1. Each stretch of an epoch, such as a batch, has each source as often as its share says, to
    within one or two samples. Only as much is computed as is asked for: an epoch may have a billion samples.
    """

    def __init__(self, seed: int, epoch: int, shares: np.ndarray):
        self.epoch, self._shares = epoch, shares
        self._start = make_generator(seed, MIXTURE, epoch).random()
        self._before = [np.zeros(len(shares), np.int64)]  # samples of each source before each block, as far as it is known
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None

    def find(self, index: int) -> tuple[int, int]:
        """The number of a sample's source, and its index there."""
        number, place = divmod(index, BLOCK)
        while len(self._before) <= number:
            sources = self._draw(len(self._before) - 1)
            self._before.append(self._before[-1] + np.bincount(sources, minlength=len(self._shares)))
        if self._block is None or self._block[0] != number:
            sources = self._draw(number)
            self._block = number, sources, _count_earlier(sources)
        source = int(self._block[1][place])
        return source, int(self._before[number][source] + self._block[2][place])

    def _draw(self, number: int) -> np.ndarray:
        """The sources of a block."""
        indices = np.arange(number * BLOCK, (number + 1) * BLOCK)
        return np.searchsorted(self._shares[:-1], (self._start + indices * GOLDEN) % 1.0, side="right")


def _count_earlier(values: np.ndarray) -> np.ndarray:
    """How often each value comes before its place."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    earlier = np.empty(len(values), np.int64)
    earlier[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return earlier


def share_samples(part: str, num_samples: int, weights: Sequence[float]) -> list[int]:
    """How many samples of each source to open: any of them may be drawn for training; fixed samples are shared out.

    Validation samples by weight, because their loss decides for what the training minimises; test samples equally, because each
    source has scores of its own, which are as exact as they are many. At least one of each.
    """
    if part == "train":
        return [num_samples] * len(weights)
    shares = np.array(weights if part == "validation" else [1.0] * len(weights))
    wanted = num_samples * shares / shares.sum()
    nums = np.floor(wanted).astype(int)
    largest_first = np.argsort(nums - wanted, kind="stable")
    nums[largest_first[: num_samples - nums.sum()]] += 1
    return np.maximum(nums, 1).tolist()


def interleave(nums: Sequence[int]) -> np.ndarray:
    """(source, index within it) of all samples, int64 N x 2, each source spread evenly over the whole."""
    places = [(np.arange(num) + 0.5) / num for num in nums]
    sources = np.repeat(np.arange(len(nums)), nums)
    order = np.argsort(np.concatenate(places), kind="stable")
    within = np.concatenate([np.arange(num) for num in nums])
    return np.stack([sources, within], axis=1)[order]


def _name_origin(origin: Origin, source: str) -> Origin:
    """Keys and names with the source before them, since two sources may have the same."""
    cutout = origin.cutout and f"{source}/{origin.cutout}"
    return replace(origin, key=f"{source}/{origin.key}", background=f"{source}/{origin.background}", cutout=cutout, source=source)
