"""Part of a split at one size, as batches of samples made from (epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence

from depthmask.augment import Augmenter
from depthmask.data.batch import ByteBatch


class SampleSet:
    """One part of the split at one size. A sample depends on seed, epoch and index alone, not on the batch it is made in."""

    def __init__(self, num_samples: int, size_px: int, seed: int, augmenter: Augmenter | None, with_background: bool):
        self.num_samples, self.size_px, self.seed = num_samples, size_px, seed
        self.augmenter, self.with_background = augmenter, with_background

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, places: Sequence[tuple[int, int]]) -> ByteBatch:
        """The batch of the given (epoch, index)."""
        epochs, indices = zip(*places, strict=True)
        batch = self._allocate(len(places))
        self._fill(batch, epochs, indices)
        if self.augmenter is not None:
            self.augmenter.augment(batch, self.seed, epochs, indices)
        return batch

    def count_known(self) -> dict[str, int]:
        """How many samples have the truth of each task, mask and depth, in any pixel."""
        raise NotImplementedError

    def _allocate(self, num_samples: int) -> ByteBatch:
        """A batch to be filled."""
        return ByteBatch.allocate(num_samples, self.size_px, self.size_px, self.with_background)

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        """Write the samples, not augmented, and their origins into the batch."""
        raise NotImplementedError
