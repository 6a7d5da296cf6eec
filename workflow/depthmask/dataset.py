"""From (part, epoch, index) to a sample, and from samples to a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from depthmask.augment import Augmenter
from depthmask.compose import Figure, Scene, compose, fit_sample, place, prepare_background, prepare_cutout
from depthmask.errors import UserError
from depthmask.keyed_random import ORDER, PLACEMENT, make_generator
from depthmask.params import AugmentParams, ComposeParams
from depthmask.sample import Sample
from depthmask.sources import Source, open_source
from depthmask.sources.layout import Composite
from depthmask.splitting import read_part

cv2.setNumThreads(0)  # the loader's processes are the parallelism; more threads would fight with the network's
PREPARED_BYTES_MAX = 4 << 30  # assets kept in memory at the composed size; beyond it they are read again for each use


@dataclass(frozen=True)
class Batch:
    """Samples stacked: float32 images 0..1, mask 0..1, depth 0..1, valid bool; background as the image or None."""

    image_B3HW: torch.Tensor
    mask_B1HW: torch.Tensor
    depth_B1HW: torch.Tensor
    valid_B1HW: torch.Tensor
    background_B3HW: torch.Tensor | None
    keys: list[str]

    def to(self, device: torch.device | str, channels_last: bool = False) -> Batch:
        """A copy on a device; images in channels-last memory if asked."""
        memory = torch.channels_last if channels_last else torch.contiguous_format
        names = ("image_B3HW", "mask_B1HW", "depth_B1HW", "valid_B1HW", "background_B3HW")
        moved = {
            name: None if tensor is None else tensor.to(device, non_blocking=True).contiguous(memory_format=memory)
            for name in names
            for tensor in [getattr(self, name)]
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        names = ("image_B3HW", "mask_B1HW", "depth_B1HW", "valid_B1HW", "background_B3HW")
        return replace(self, **{n: None if getattr(self, n) is None else getattr(self, n).pin_memory() for n in names})


class SampleSet:
    """One part of the split at one size. `sample(index, epoch)` depends on seed, epoch and index alone."""

    def __init__(self, num_samples: int, size_px: int, compose_params: ComposeParams, seed: int, augmenter: Augmenter | None):
        self.num_samples, self.size_px, self.params, self.seed = num_samples, size_px, compose_params, seed
        self.augmenter = augmenter

    def __len__(self) -> int:
        return self.num_samples

    def sample(self, index: int, epoch: int = 0) -> Sample:
        sample = self._make(index, epoch)
        return sample if self.augmenter is None else self.augmenter.augment(sample, self.seed, epoch, index)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> Sample:
        epoch, index = epoch_and_index
        return self.sample(index, epoch)

    def _make(self, index: int, epoch: int) -> Sample:
        raise NotImplementedError


class ComposedSet(SampleSet):
    """Composites made on the fly from the backgrounds and cut-outs of a part; `shuffle` pairs them at random."""

    def __init__(
        self,
        source: Source,
        backgrounds: Sequence[str],
        cutouts: Sequence[str],
        with_background: bool,
        shuffle: bool = False,
        **common,
    ):
        super().__init__(**common)
        self.shuffle = shuffle
        self.source, self.backgrounds, self.cutouts, self.with_background = source, backgrounds, cutouts, with_background
        self._scenes: dict[str, Scene] = {}
        self._figures: dict[str, Figure] = {}
        self._num_bytes = 0

    def prepare(self) -> ComposedSet:
        """Read every asset now, so that worker processes share one copy."""
        for key in self.backgrounds:
            self._scene(key)
        for key in self.cutouts:
            self._figure(key)
        return self

    def _make(self, index: int, epoch: int) -> Sample:
        rng = make_generator(self.seed, PLACEMENT, epoch, index)
        number, other = self._pair(index, rng)
        scene, figure = self._scene(self.backgrounds[number]), self._figure(self.cutouts[other])
        placement = place(scene, figure, self.params, rng)
        return compose(scene, figure, placement, self.params.shadow, self.with_background, key=f"{epoch:04d}_{index:06d}")

    def _pair(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Which background and which cut-out: at random for training, else each as often as any other, in new pairs."""
        num_backgrounds, num_cutouts = len(self.backgrounds), len(self.cutouts)
        if self.shuffle:
            return int(rng.integers(num_backgrounds)), int(rng.integers(num_cutouts))
        return index % num_backgrounds, (index + index // math.lcm(num_backgrounds, num_cutouts)) % num_cutouts

    def _scene(self, key: str) -> Scene:
        scene = self._scenes.get(key)
        if scene is None:
            scene = prepare_background(
                self.source.read_background(key),
                self.size_px,
                self.params.fit,
                self.source.scale.max,
                self.params.field_of_view_deg,
            )
            self._keep(self._scenes, key, scene, [scene.image, scene.depth, scene.valid, scene.floor_px])
        return scene

    def _figure(self, key: str) -> Figure:
        figure = self._figures.get(key)
        if figure is None:
            figure = prepare_cutout(self.source.read_cutout(key), self.size_px)
            self._keep(self._figures, key, figure, [figure.rgba_premultiplied, figure.relief])
        return figure

    def _keep(self, kept: dict, key: str, asset: Scene | Figure, arrays: list[np.ndarray | None]) -> None:
        num_bytes = sum(a.nbytes for a in arrays if a is not None)
        if self._num_bytes + num_bytes <= PREPARED_BYTES_MAX:
            self._num_bytes += num_bytes
            kept[key] = asset


class ReadySet(SampleSet):
    """Ready-made composites of a part; an epoch is a prefix of a permutation that (seed, epoch) decides."""

    def __init__(self, source: Source, composites: Sequence[Composite], with_background: bool, shuffle: bool, **common):
        super().__init__(**common)
        self.source, self.composites, self.with_background, self.shuffle = source, composites, with_background, shuffle
        self._order: tuple[int, np.ndarray] | None = None

    def prepare(self) -> ReadySet:
        return self

    def _make(self, index: int, epoch: int) -> Sample:
        if self.shuffle:
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, make_generator(self.seed, ORDER, epoch).permutation(len(self.composites))
            index = int(self._order[1][index])
        sample = self.source.read_composite(self.composites[index], self.with_background)
        return fit_sample(sample, self.size_px, self.params.fit)


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
    """A part of the split (train, validation or test) as num_samples composites; of ready-made ones at most all.

    prepare: read every asset now; where only a few samples are wanted, each is read when it is needed.

    Raises:
        UserError: the part has no backgrounds or no cut-outs, or the bare background is wanted where there is none.
    """
    source, listed = open_source(raw), read_part(split, part)
    common = {
        "size_px": image_size_px,
        "compose_params": compose,
        "seed": seed,
        "augmenter": Augmenter(augment) if augment is not None else None,
    }
    if with_background and not source.has_backgrounds:
        raise UserError(
            f"{raw}: has no bare backgrounds; name their folder in download.backgrounds, or set model.background_input to false"
        )
    if listed.composites:
        num_samples = min(num_samples, len(listed.composites))
        shuffle = part == "train"
        return ReadySet(source, listed.composites, with_background, shuffle=shuffle, num_samples=num_samples, **common)
    if not listed.backgrounds or not listed.cutouts:
        raise UserError(f"{split / part}.csv: no samples; the split leaves nothing to this part")
    composed = ComposedSet(
        source, listed.backgrounds, listed.cutouts, with_background, shuffle=part == "train", num_samples=num_samples, **common
    )
    return composed.prepare() if prepare else composed


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size."""
    has_background = samples[0].background is not None
    return Batch(
        image_B3HW=_stack_images([s.image for s in samples]),
        mask_B1HW=torch.from_numpy(np.stack([s.mask for s in samples])[:, None]),
        depth_B1HW=torch.from_numpy(np.stack([s.depth for s in samples])[:, None]),
        valid_B1HW=torch.from_numpy(np.stack([s.valid for s in samples])[:, None]),
        background_B3HW=_stack_images([s.background for s in samples]) if has_background else None,
        keys=[s.key for s in samples],
    )


def _stack_images(images: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
