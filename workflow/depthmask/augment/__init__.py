"""Random augmentation of training samples; albumentations defines each transform (`reference`), and a test compares.

Geometric transforms move all maps of a sample together; photometric ones change the image's colours, and the background's
with draws of their own. What is drawn follows from (seed, epoch, index), so no worker, batch or order can change it. The
transforms of `geometric` and `photometric` are native; any other one is albumentations' own, if that is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from depthmask.augment.geometric import GEOMETRIC, NumValues
from depthmask.augment.photometric import PHOTOMETRIC
from depthmask.base.errors import UserError
from depthmask.data.batch import ByteBatch
from depthmask.keyed_random import AUGMENTATION, draw_uniforms
from depthmask.params import AugmentParams

OF_MAPS, OF_IMAGE, OF_BACKGROUND = range(3)  # streams of draws


class Augmenter:
    """Applies the two lists of `AugmentParams` in their order."""

    def __init__(self, params: AugmentParams):
        self._geometric = _Chain(params.geometric, GEOMETRIC, "change_maps")
        self._photometric = _Chain(params.photometric, PHOTOMETRIC, "change_image")

    def augment(self, maps: ByteBatch, seed: int, epochs: Sequence[int], indices: Sequence[int]) -> None:
        """Change samples 0..B-1 in place, which are those of (epoch, index)."""
        for b, transform in self._geometric.draw(seed, epochs, indices, OF_MAPS):
            transform(maps, b)
        for images, stream in ((maps.image, OF_IMAGE), (maps.background, OF_BACKGROUND)):
            if images is not None:
                for b, transform in self._photometric.draw(seed, epochs, indices, stream):
                    images[b] = transform(images[b])


class _Chain:
    """Transforms in their order; `draw` yields those that a batch's draws choose. otherwise: what applies unknown ones."""

    def __init__(self, transforms: Sequence[Any], known: Mapping[str, tuple[Callable, NumValues]], otherwise: str):
        self._steps = []  # function, params, columns of its values
        self._probabilities = np.array([t.probability for t in transforms])
        column = len(transforms)  # the first columns decide whether each is applied
        for params in transforms:
            function, num_values = known.get(params.transform) or _find_in_albumentations(otherwise, params.transform)
            num_values = num_values(params) if callable(num_values) else num_values
            self._steps.append((function, params, slice(column, column + num_values)))
            column += num_values
        self._num_draws = column

    def draw(self, seed: int, epochs: Sequence[int], indices: Sequence[int], stream: int) -> Iterator[tuple[int, Callable]]:
        """(b, transform) for each sample and each of its transforms; transform is called with what it changes."""
        if not self._steps:
            return
        draws_BN = draw_uniforms(seed, AUGMENTATION, epochs, indices, self._num_draws, stream)
        for b, step in np.argwhere(draws_BN[:, : len(self._steps)] < self._probabilities).tolist():
            function, params, columns = self._steps[step]
            yield b, partial(function, params=params, values=draws_BN[b, columns].tolist())


def _find_in_albumentations(name: str, transform: str) -> tuple[Callable, int]:
    """A function that applies a transform of albumentations; its one value is the seed for the library's draws.

    Raises:
        UserError: the library is not installed.
    """
    try:
        from depthmask.augment import reference  # late: albumentations is optional and takes a second to import
    except ModuleNotFoundError as error:
        raise UserError(
            f"params.yaml: augment: transform: {transform} needs the package {error.name}, which is not installed",
            hint="install albumentations==2.0.8, or remove the transform",
        ) from error
    return getattr(reference, name), 1
