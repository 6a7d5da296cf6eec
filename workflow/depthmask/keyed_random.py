"""Random numbers that depend on their purpose, never on who draws them or when."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# One number per purpose, so that no two share a stream. Never renumber: it would change every result.
PLACEMENT, AUGMENTATION, ORDER, SPLIT, WEIGHTS, STEP, STATISTICS, REALISM, VIEW, MIXTURE, RESAMPLING, FOLD = range(1, 13)
SWEEP = 13
BLOCK = 256  # indices whose uniforms are drawn at once; changing it would also change every result


def make_generator(seed: int, purpose: int, epoch: int = 0, index: int = 0, stream: int = 0) -> np.random.Generator:
    """The generator of (seed, purpose, epoch, index, stream): Philox is counter-based, so creating one takes microseconds.

    The first counter word is left to the generator: 2^64 blocks before two indices could collide.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, index, epoch, stream]))


def draw_seed(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> int:
    """A 31-bit seed for a library that takes an integer."""
    return int(make_generator(seed, purpose, epoch, index).integers(2**31 - 1))


def draw_uniforms(
    seed: int, purpose: int, epochs: Sequence[int], indices: Sequence[int], num_draws: int, stream: int = 0
) -> np.ndarray:
    """num_draws numbers in 0..1 (1 excluded) for each (epoch, index): float64 B x num_draws.

    A row is a function of (seed, purpose, epoch, index, stream) and num_draws alone. Rows of BLOCK neighbouring indices are
    drawn together, which makes one of them about as cheap as reading it.
    """
    rows = np.empty((len(indices), num_draws))
    for row, epoch, index in zip(rows, epochs, indices, strict=True):
        row[:] = _draw_block(seed, purpose, epoch, index // BLOCK, num_draws, stream)[index % BLOCK]
    return rows


@lru_cache(maxsize=64)
def _draw_block(seed: int, purpose: int, epoch: int, block: int, num_draws: int, stream: int) -> np.ndarray:
    return make_generator(seed, purpose, epoch, block, stream + 1).random((BLOCK, num_draws))
