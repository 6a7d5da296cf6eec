"""Scene clutter: other cut-outs that belong to the background, so that not everything pasted is foreground.

Clutter is placed like a foreground and drawn before it, into image and clean background alike, with its depth and mask 0.
What would stand nearer than the foreground is left out: the foreground is drawn last and hides what it covers, and in an image
of several cut-outs it is the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from depthmask.compose.harmonizing import NUM_FINISH_DRAWS, Finish
from depthmask.compose.placing import NUM_DRAWS, Figure, Placement
from depthmask.keyed_random import REALISM, draw_uniforms

# the meaning of each column of an object's draws
CUTOUT = 0
PLACE = slice(1, 1 + NUM_DRAWS)
FINISH = slice(1 + NUM_DRAWS, 1 + NUM_DRAWS + NUM_FINISH_DRAWS)
FIRST_STREAM = 2  # of object 0; the streams before are the foreground's finish and the number of objects
NUMBER_STREAM = 1


class PlacedCutout(NamedTuple):
    """A cut-out to be drawn; finish: None: as it is."""

    figure: Figure
    box: Placement
    finish: Finish | None


def draw_clutter(num_max: int, seed: int, epochs: Sequence[int], indices: Sequence[int]) -> tuple[list[int], np.ndarray]:
    """0 to num_max objects for each (epoch, index), each number equally often.

    Returns which sample of the batch each object is for, and the objects' draws, N x columns above.
    """
    numbers_B = (draw_uniforms(seed, REALISM, epochs, indices, 1, NUMBER_STREAM)[:, 0] * (num_max + 1)).astype(int)
    owners, rows = [], [np.empty((0, FINISH.stop))]
    for k in range(num_max):
        having = np.flatnonzero(numbers_B > k).tolist()
        places = [epochs[b] for b in having], [indices[b] for b in having]
        owners += having
        rows.append(draw_uniforms(seed, REALISM, *places, FINISH.stop, FIRST_STREAM + k))
    return owners, np.concatenate(rows)


def choose_other(draw: float, foreground: int, num_cutouts: int) -> int:
    """The number of a cut-out that is not the foreground's; there must be two."""
    return (foreground + 1 + int(draw * (num_cutouts - 1))) % num_cutouts


def keep_behind(clutter: Sequence[PlacedCutout], foreground: Placement) -> list[PlacedCutout]:
    """What does not stand nearer than the foreground, from far to near; an unknown depth counts as farthest."""
    depth = [np.inf if placed.box.foot_depth is None else placed.box.foot_depth for placed in clutter]
    nearest = -np.inf if foreground.foot_depth is None else foreground.foot_depth
    order = sorted(range(len(clutter)), key=lambda k: -depth[k])
    return [clutter[k] for k in order if depth[k] >= nearest]
