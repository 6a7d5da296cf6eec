"""All of another data set as test samples: composites of all its backgrounds and cut-outs, or its pre-composited samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthmask.base.errors import UserError
from depthmask.compose.composer import Composer
from depthmask.data.batch import ByteBatch
from depthmask.loading.dataset import ComposedSet
from depthmask.loading.sample_set import SampleSet
from depthmask.other_sets.comparing import Comparison
from depthmask.params import Params
from depthmask.params.other_sets import OtherSetParams
from depthmask.sources import Source
from depthmask.sources.packed import PackedSource
from depthmask.split.packed import name_cutouts


class WholeStore(SampleSet):
    """Samples of a packed store, evenly spaced; all if num_samples is None. cutout_group: finds cut-outs that it does not name.

    Raises:
        UserError: the model takes clean backgrounds and no sample has one.
    """

    def __init__(self, source: PackedSource, num_samples: int | None, cutout_group: str | None, **common):
        self.source, self.index = source, name_cutouts(source.read_index(), cutout_group)
        rows = np.arange(len(source))
        if common["with_background"]:
            rows = source.choose_rows_with_clean(rows) if source.has_backgrounds else rows[:0]
            if not len(rows):
                raise UserError(
                    f"{source.root}: none of these {len(source)} samples has a clean background; add them, or set"
                    " model.background_input to false and train again"
                )
        num = len(rows) if num_samples is None else min(num_samples, len(rows))
        self.rows = rows[(np.arange(num) * len(rows)) // num]
        super().__init__(num_samples=num, augmenter=None, **common)

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        for b, index in enumerate(indices):
            row = int(self.rows[index])
            self.source.read_into(batch, b, row)
            cutout = int(self.index.cutouts[row])
            if cutout >= 0:
                batch.origins[b] = replace(batch.origins[b], cutout=self.index.cutout_names[cutout])


class ComparedSet(SampleSet):
    """Samples whose true depth is brought to the scale of the scores. Counts what that concerns."""

    def __init__(self, samples: SampleSet, comparison: Comparison):
        super().__init__(len(samples), samples.size_px, samples.seed, None, samples.with_background)
        self.samples, self.comparison = samples, comparison
        self._counts: dict[int, tuple[int, int, int]] = {}

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        self.samples._fill(batch, epochs, indices)
        num_known = batch.valid.sum(axis=(1, 2))
        self.comparison.convert_truth(batch)
        num_left = batch.valid.sum(axis=(1, 2))
        num_beyond = (batch.valid & (batch.depth > 1)).sum(axis=(1, 2))
        for index, *counts in zip(indices, num_known.tolist(), num_left.tolist(), num_beyond.tolist(), strict=True):
            self._counts[index] = tuple(counts)

    def describe_range(self) -> dict[str, float]:
        """Of the pixels with known depth in the samples read so far: the fractions left out, and beyond the model's maximum."""
        known, left, beyond = (sum(column) for column in zip(*self._counts.values())) if self._counts else (0, 0, 0)
        return {
            "depth_left_out_fraction": round((known - left) / max(1, known), 6),
            "depth_beyond_model_fraction": round(beyond / max(1, left), 6) if self.comparison.scored == "all" else 0.0,
        }


def open_whole(
    source: Source, declared: OtherSetParams, params: Params, comparison: Comparison, with_background: bool
) -> ComparedSet:
    """The samples of another set that are scored; composites are plain, like those of the test set.

    Raises:
        UserError: there is nothing to compose, a clean background is needed and there is none, or the store was packed at
            another size.
    """
    size_px, num = params.evaluate.image_size_px, declared.num_samples
    common = {"size_px": size_px, "seed": params.split_seed, "with_background": with_background}
    if isinstance(source, PackedSource):
        source.require(size_px, params.compose.fit)
        return ComparedSet(WholeStore(source, num, declared.cutout_group, **common), comparison)
    if not source.backgrounds or not source.cutouts:
        raise UserError(f"{source.root}: has no backgrounds or no cut-outs, so there is nothing to score; add them")
    composer = Composer(source, source.backgrounds, source.cutouts, size_px, params.compose.plain(), params.split_seed)
    composer.prepare()
    num = num or max(params.evaluate.num_samples, len(source.backgrounds), len(source.cutouts))
    return ComparedSet(ComposedSet(composer, num_samples=num, augmenter=None, **common), comparison)


def knows_masks(source: Source) -> bool:
    """Whether any sample of a set has a known mask: all but those of photos have."""
    return not (isinstance(source, PackedSource) and source.has_photos) or bool(source.known[:, 0].any())
