"""Makes batches of samples from (part, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthmask.augment import Augmenter
from depthmask.base.errors import UserError
from depthmask.compose.composer import Composer
from depthmask.data.batch import ByteBatch
from depthmask.keyed_random import ORDER, make_generator
from depthmask.loading.split_files import read_part, read_rows
from depthmask.params import AugmentParams, ComposeParams
from depthmask.sources import Source, open_source
from depthmask.sources.packed import PackedSource


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
        batch = ByteBatch.allocate(len(places), self.size_px, self.size_px, self.with_background)
        self._fill(batch, epochs, indices)
        if self.augmenter is not None:
            self.augmenter.augment(batch, self.seed, epochs, indices)
        return batch

    def count_known(self) -> dict[str, int]:
        """How many samples have the truth of each task, mask and depth, in any pixel."""
        raise NotImplementedError

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        """Write the samples, not augmented, and their origins into the batch."""
        raise NotImplementedError


class ComposedSet(SampleSet):
    """Composites made on the fly from the backgrounds and cut-outs of a part."""

    def __init__(self, composer: Composer, **common):
        super().__init__(**common)
        self.composer = composer

    def count_known(self) -> dict[str, int]:
        return {"mask": len(self), "depth": len(self) * self.composer.source.has_depth}

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        self.composer.fill(batch, epochs, indices)


class PackedSet(SampleSet):
    """Packed composites of a part, by row; an epoch is a prefix of a permutation of them that (seed, epoch) decides.

    It holds no composites: store and rows are memory-mapped, and reopened in each process it is sent to.
    """

    def __init__(self, source: PackedSource, split: Path, part: str, **common):
        super().__init__(**common)
        self.source, self.shuffle = source, part == "train"
        self._place = split, part
        self._rows = self._read_rows()
        self._order: tuple[int, np.ndarray] | None = None
        self.num_samples = min(self.num_samples, len(self._rows))

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        for b, (epoch, index) in enumerate(zip(epochs, indices, strict=True)):
            self.source.read_into(batch, b, int(self._rows[self._order_of(epoch)[index] if self.shuffle else index]))

    def count_known(self) -> dict[str, int]:
        if not self.source.has_photos:
            return {"mask": len(self), "depth": len(self) * self.source.has_depth}
        # training sees all rows in some epoch, the other parts the first ones
        counted = self.source.known[self._rows if self.shuffle else self._rows[: len(self)]].sum(axis=0)
        return dict(zip(("mask", "depth"), counted.tolist(), strict=True))

    def _read_rows(self) -> np.ndarray:
        rows = read_rows(*self._place, self.source)
        if not self.with_background or not self.source.has_photos:
            return rows
        usable = self.source.choose_rows_with_clean(rows)
        if not len(usable):
            raise UserError(
                f"{self._place[0] / self._place[1]}.csv: none of these {len(rows)} photos has a clean background; add them to"
                " background/, or set model.background_input to false"
            )
        return usable

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, make_generator(self.seed, ORDER, epoch).permutation(len(self._rows))
        return self._order[1]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_rows": None, "_order": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._rows = self._read_rows()


def _say_where(source: Source) -> str:
    has_photos = isinstance(source, PackedSource) and source.has_photos
    return "add them to background/" if has_photos else "set download.backgrounds to their folder"


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
    prepare: bool = True,
) -> SampleSet:
    """Open a part of the split (train, validation or test) as num_samples composites; of pre-composited ones at most all.

    raw: from `sources.choose_folder`: the folder of assets, or the packed store.
    compose: the options in it that are for training only (`ComposeParams.plain`) do not apply to validation and test.
    prepare: read every asset now; otherwise each is read when needed, for a few samples.

    Raises:
        UserError: the part has no backgrounds or cut-outs, there is no clean background but one is needed, or the store was
            packed at other sizes.
    """
    source = open_source(raw)
    if with_background and not source.has_backgrounds:
        raise UserError(f"{raw}: has no clean backgrounds; {_say_where(source)}, or set model.background_input to false")
    common = {
        "num_samples": num_samples,
        "size_px": image_size_px,
        "seed": seed,
        "augmenter": Augmenter(augment) if augment is not None else None,
        "with_background": with_background,
    }
    if isinstance(source, PackedSource):
        source.require(image_size_px, compose.fit)
        return PackedSet(source, split, part, **common)
    listed = read_part(split, part)
    if not listed.backgrounds or not listed.cutouts:
        raise UserError(f"{split / part}.csv: no samples; the split left none for this part")
    in_training = part == "train"
    composer = Composer(
        source,
        listed.backgrounds,
        listed.cutouts,
        image_size_px,
        compose if in_training else compose.plain(),
        seed,
        shuffle=in_training,
    )
    if prepare:
        composer.prepare()
    return ComposedSet(composer, **common)
