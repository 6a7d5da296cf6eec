"""Random numbers that depend on what they are for, never on who draws them or when."""

from __future__ import annotations

import numpy as np

# One number a purpose, so that two purposes never share a stream. Never renumber: it would change every result.
PLACEMENT, AUGMENTATION, ORDER, SPLIT, WEIGHTS, STEP, STATISTICS = range(1, 8)


def make_generator(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """The generator of (seed, purpose, epoch, index): Philox, counter based, so that making one costs microseconds.

    The first word of the counter is left to the generator itself: 2^64 blocks before two indices could meet.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, index, epoch, 0]))


def draw_seed(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> int:
    """A 31-bit seed for a library that wants an integer."""
    return int(make_generator(seed, purpose, epoch, index).integers(2**31 - 1))
