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
from depthmask.loading.depth_scale import make_depth_scale
from depthmask.loading.mixed import MixedSet, share_samples
from depthmask.loading.sample_set import SampleSet
from depthmask.loading.split_files import read_part, read_rows, read_weights
from depthmask.params import AugmentParams, ComposeParams
from depthmask.params.mixture import name_keys
from depthmask.sources import Source, open_source
from depthmask.sources.folders import Data, MixedFolders
from depthmask.sources.packed import PackedSource


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
        self._order: tuple[int, int, np.ndarray] | None = None
        self.num_samples = min(self.num_samples, len(self._rows))

    def _fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        for b, (epoch, index) in enumerate(zip(epochs, indices, strict=True)):
            if self.shuffle:
                turn, place = divmod(index, len(self._rows))
                index = self._order_of(epoch, turn)[place]
            self.source.read_into(batch, b, int(self._rows[index]))

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

    def _order_of(self, epoch: int, turn: int) -> np.ndarray:
        """turn: how often all rows have been before in this epoch; above 0 only if the samples are mixed with others."""
        if self._order is None or self._order[:2] != (epoch, turn):
            self._order = epoch, turn, make_generator(self.seed, ORDER, epoch, stream=turn).permutation(len(self._rows))
        return self._order[2]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_rows": None, "_order": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._rows = self._read_rows()


def _say_where(source: Source) -> str:
    has_photos = isinstance(source, PackedSource) and source.has_photos
    return "add them to background/" if has_photos else "set download.backgrounds to their folder"


def open_samples(
    data: Data,
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

    data: from `sources.folders.choose_data`: the folder of assets, or the packed store; of several sources, one of each.
    compose: the options in it that are for training only (`ComposeParams.plain`) do not apply to validation and test.
    prepare: read every asset now; otherwise each is read when needed, for a few samples.

    Raises:
        UserError: the part has no backgrounds or cut-outs, there is no clean background but one is needed, or the store was
            packed at other sizes.
    """
    options = {"image_size_px": image_size_px, "compose": compose, "seed": seed, "prepare": prepare}
    common = {
        "size_px": image_size_px,
        "seed": seed,
        "augmenter": Augmenter(augment) if augment is not None else None,
        "with_background": with_background,
    }
    if not isinstance(data, MixedFolders):
        return _open_set(open_source(data), split, part, num_samples, common, **options)
    weights, plain = read_weights(split), common | {"augmenter": None}
    nums = share_samples(part, num_samples, list(weights.values()))
    sets, scales, first = {}, {}, None
    for number, (name, num) in enumerate(zip(weights, nums, strict=True)):
        with name_keys(f"download.more_sources.{name}" if number else "download"):
            source = open_source(data.folders[name])
            sets[name] = _open_set(source, split / name, part, num, plain, **options)
        first = first or source.scale
        scales[name] = make_depth_scale(source.scale, first, is_first=number == 0)
    is_training = part == "train"
    return MixedSet(sets, scales, weights if is_training else None, num_samples=num_samples, **common)


def _open_set(
    source: Source,
    split: Path,
    part: str,
    num_samples: int,
    common: dict,
    *,
    image_size_px: int,
    compose: ComposeParams,
    seed: int,
    prepare: bool,
) -> SampleSet:
    """Open a part of the split of one source; common: the options of every sample set."""
    common = common | {"num_samples": num_samples}
    with_background = common["with_background"]
    if with_background and not source.has_backgrounds:
        raise UserError(f"{source.root}: has no clean backgrounds; {_say_where(source)}, or set model.background_input to false")
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
