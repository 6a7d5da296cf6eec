"""From (part, epoch, index) to a sample, and to a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from depthmask.augment import Augmenter
from depthmask.batch import ByteBatch, stack_maps
from depthmask.compose import fit_sample
from depthmask.composer import Composer, Origin
from depthmask.errors import UserError
from depthmask.keyed_random import ORDER, make_generator
from depthmask.params import AugmentParams, ComposeParams
from depthmask.sample import Maps, Sample
from depthmask.sources import Source, open_source
from depthmask.sources.layout import Composite
from depthmask.splitting import read_part

cv2.setNumThreads(0)  # the loader's processes are the parallelism; more threads would fight with the network's


class SampleSet:
    """One part of the split at one size. A sample depends on seed, epoch and index alone, not on the batch it is made in."""

    def __init__(self, num_samples: int, size_px: int, seed: int, augmenter: Augmenter | None, with_background: bool):
        self.num_samples, self.size_px, self.seed = num_samples, size_px, seed
        self.augmenter, self.with_background = augmenter, with_background

    def __len__(self) -> int:
        return self.num_samples

    def sample(self, index: int, epoch: int = 0) -> Sample:
        maps, origins = self._make([epoch], [index])
        origin = origins[0]
        return maps.read_sample(0, origin.key, origin.background, origin.cutout, origin.kind)

    def __getitem__(self, places: Sequence[tuple[int, int]]) -> ByteBatch:
        """The batch of the given (epoch, index)."""
        maps, origins = self._make(*zip(*places, strict=True))
        return stack_maps(maps, [origin.key for origin in origins])

    def _make(self, epochs: Sequence[int], indices: Sequence[int]) -> tuple[Maps, list[Origin]]:
        maps = Maps.allocate(len(indices), self.size_px, self.with_background)
        origins = self._fill(maps, epochs, indices)
        if self.augmenter is not None:
            self.augmenter.augment(maps, self.seed, epochs, indices)
        return maps, origins

    def _fill(self, maps: Maps, epochs: Sequence[int], indices: Sequence[int]) -> list[Origin]:
        """Write the samples, not augmented, into the maps."""
        raise NotImplementedError


class ComposedSet(SampleSet):
    """Composites made on the fly from the backgrounds and cut-outs of a part."""

    def __init__(self, composer: Composer, **common):
        super().__init__(size_px=composer.size_px, seed=composer.seed, **common)
        self.composer = composer

    def _fill(self, maps: Maps, epochs: Sequence[int], indices: Sequence[int]) -> list[Origin]:
        return self.composer.fill(maps, epochs, indices)


class ReadySet(SampleSet):
    """Ready-made composites of a part; an epoch is a prefix of a permutation that (seed, epoch) decides."""

    def __init__(self, source: Source, composites: Sequence[Composite], fit: str, shuffle: bool, **common):
        super().__init__(**common)
        self.source, self.composites, self.fit, self.shuffle = source, composites, fit, shuffle
        self._order: tuple[int, np.ndarray] | None = None

    def _fill(self, maps: Maps, epochs: Sequence[int], indices: Sequence[int]) -> list[Origin]:
        origins = []
        for b, (epoch, index) in enumerate(zip(epochs, indices, strict=True)):
            composite = self.composites[self._order_of(epoch)[index] if self.shuffle else index]
            sample = fit_sample(self.source.read_composite(composite, self.with_background), self.size_px, self.fit)
            maps.image[b], maps.depth[b], maps.valid[b] = sample.image, sample.depth, sample.valid
            maps.mask[b] = np.rint(sample.mask * 255)
            if maps.background is not None:
                maps.background[b] = sample.background
            origins.append(Origin(composite.key, composite.background, composite.cutout))
        return origins

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, make_generator(self.seed, ORDER, epoch).permutation(len(self.composites))
        return self._order[1]


def open_samples(
    raw: Path,
    split: Path,
    part: str,
    *,
    image_size_px: int,
    compose: ComposeParams,
    seed: int,
    num_samples: int,
    augment: AugmentParams | None = None,
    with_background: bool = False,
) -> SampleSet:
    """A part of the split (train, validation or test) as num_samples composites; of ready-made ones at most all.

    Raises:
        UserError: the part has no backgrounds or no cut-outs, or the bare background is wanted where there is none.
    """
    source, listed = open_source(raw), read_part(split, part)
    if with_background and not source.has_backgrounds:
        raise UserError(
            f"{raw}: has no bare backgrounds; name their folder in download.backgrounds, or set model.background_input to false"
        )
    shuffle = part == "train"
    common = {"augmenter": Augmenter(augment) if augment is not None else None, "with_background": with_background}
    if listed.composites:
        common |= {"num_samples": min(num_samples, len(listed.composites)), "size_px": image_size_px, "seed": seed}
        return ReadySet(source, listed.composites, compose.fit, shuffle, **common)
    if not listed.backgrounds or not listed.cutouts:
        raise UserError(f"{split / part}.csv: no samples; the split leaves nothing to this part")
    composer = Composer(source, listed.backgrounds, listed.cutouts, image_size_px, compose, seed, shuffle)
    composer.prepare()
    return ComposedSet(composer, num_samples=num_samples, **common)
