"""Channel statistics of each kind of map, from the training part only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from depthmask.compose.composer import Composer
from depthmask.data.batch import ABSOLUTE, ByteBatch
from depthmask.keyed_random import STATISTICS, make_generator
from depthmask.loading.depth_scale import DepthScale
from depthmask.loading.split_files import Part
from depthmask.params import ComposeParams
from depthmask.sources.assets import AssetsSource
from depthmask.sources.packed import PackedSource

NUM_COMPOSITES, COMPOSITE_SIZE_PX = 256, 64
NUM_PACKED = 2048  # pre-composited samples, at most, whatever their number


@dataclass
class ChannelSums:
    """Weighted sums over a kind of map, for mean and standard deviation independent of how maps are grouped."""

    weight: float = 0.0
    total: np.ndarray = field(default_factory=lambda: np.zeros(1))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(1))
    num_maps: int = 0

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """values: H x W or H x W x C, 0..1; weights: H x W, 0 for pixels that do not count."""
        flat = values.reshape(-1, values.shape[2] if values.ndim == 3 else 1).astype(np.float64)
        w = np.ones(len(flat)) if weights is None else weights.reshape(-1).astype(np.float64)
        self.weight += float(w.sum())
        self.total = self.total + w @ flat
        self.squares = self.squares + w @ flat**2
        self.num_maps += 1

    def describe(self) -> dict:
        """{"mean": [C], "std": [C], "num_maps": n}; without a single weight, mean and std are null."""
        if not self.weight:
            return {"mean": None, "std": None, "num_maps": self.num_maps}
        mean = self.total / self.weight
        std = np.sqrt(np.maximum(self.squares / self.weight - mean**2, 0))
        return {"mean": _round(mean), "std": _round(std), "num_maps": self.num_maps}


def measure_channels(
    source: AssetsSource, train: Part, params: ComposeParams, seed: int, scale: DepthRange | None = None
) -> dict[str, dict]:
    """Mean and standard deviation, 0..1, of `image` (clean backgrounds), `cutout`, `mask` and `depth`.

    A cut-out's colours are weighted by alpha; depth counts where it is known. Mask and depth are from composites: the first
    NUM_COMPOSITES that training would draw, at COMPOSITE_SIZE_PX, without augmentation. The network normalises its input with
    `image`; a network trained on standardised maps uses mask and depth. scale: to which depth is converted.
    """
    kinds = {kind: ChannelSums() for kind in ("image", "cutout", "mask", "depth")}
    for key in train.backgrounds:
        kinds["image"].add(source.read_background(key).image / 255)
    for key in train.cutouts:
        rgba = source.read_cutout(key).rgba / 255
        kinds["cutout"].add(rgba[..., :3], rgba[..., 3])
    for composite in draw_composites(source, train, params, seed):
        kinds["mask"].add(composite.read_alpha(0))
        _add_depth(kinds["depth"], composite, scale)
    return {kind: sums.describe() for kind, sums in kinds.items()}


def measure_packed(source: PackedSource, rows: np.ndarray, seed: int, scale: DepthRange | None = None) -> dict[str, dict]:
    """The same for pre-composited samples, without cut-outs: from NUM_PACKED of the rows, at the smallest packed size."""
    if len(rows) > NUM_PACKED:
        rows = np.sort(make_generator(seed, STATISTICS).choice(rows, NUM_PACKED, replace=False))
    kinds = {kind: ChannelSums() for kind in ("image", "mask", "depth")}
    for row in rows.tolist():
        composite = source.read(row, source.sizes_px[0])
        kinds["image"].add(composite.image[0] / 255)
        if composite.knows_mask(0):
            kinds["mask"].add(composite.read_alpha(0))
        _add_depth(kinds["depth"], composite, scale)
    return {kind: sums.describe() for kind, sums in kinds.items()}


@dataclass
class DepthRange:
    """Converts depth to the first source's scale, and counts the known pixels and those that are out of its range."""

    scale: DepthScale
    num_known: int = 0
    num_outside: int = 0

    def convert(self, batch: ByteBatch) -> bool:
        """Convert a batch in place; False if its depth has a scale of its own."""
        self.num_known += int(batch.valid.sum())
        self.num_outside += self.scale.convert(batch.depth, batch.valid)
        return self.scale.relation == ABSOLUTE

    @property
    def fraction_outside(self) -> float:
        return round(self.num_outside / max(1, self.num_known), 6)


def _add_depth(sums: ChannelSums, composite: ByteBatch, scale: DepthRange | None) -> None:
    if scale is None or scale.convert(composite):
        sums.add(composite.depth[0], composite.valid[0])


def mix_channels(channels: Mapping[str, dict[str, dict]], weights: Mapping[str, float]) -> dict[str, dict]:
    """Channel statistics of a mixture from those of its sources: each weighs as many samples as are drawn of it."""
    mixed = {}
    for kind in dict.fromkeys(kind for listed in channels.values() for kind in listed):
        known = [(weights[name], listed[kind]) for name, listed in channels.items() if kind in listed]
        num_maps = sum(one["num_maps"] for _, one in known)
        known = [(weight, one) for weight, one in known if one["mean"] is not None]
        if not known:
            mixed[kind] = {"mean": None, "std": None, "num_maps": num_maps}
            continue
        shares = np.array([weight for weight, _ in known])
        shares /= shares.sum()
        means, stds = (np.array([one[name] for _, one in known]) for name in ("mean", "std"))
        mean = shares @ means
        std = np.sqrt(np.maximum(shares @ (means**2 + stds**2) - mean**2, 0))
        mixed[kind] = {"mean": _round(mean), "std": _round(std), "num_maps": num_maps}
    return mixed


def _round(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def draw_composites(source: AssetsSource, train: Part, params: ComposeParams, seed: int) -> Iterator[ByteBatch]:
    """The first composites of training's first epoch, `plain`, in batches of one."""
    size = COMPOSITE_SIZE_PX
    composer = Composer(source, train.backgrounds, train.cutouts, size, params.plain(), seed, shuffle=True)
    for index in range(NUM_COMPOSITES):
        batch = ByteBatch.allocate(1, COMPOSITE_SIZE_PX, COMPOSITE_SIZE_PX, with_background=False)
        composer.fill(batch, [0], [index])
        yield batch
