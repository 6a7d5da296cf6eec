"""Makes composites from (epoch, index): pairs assets, places cut-outs, and caches assets at the composed size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from depthmask.compose.clutter import CUTOUT, FINISH, PLACE, PlacedCutout, choose_other, draw_clutter, keep_behind
from depthmask.compose.compose import compose, prepare_background, prepare_cutout
from depthmask.compose.harmonizing import NUM_FINISH_DRAWS, Finish, draw_finishes
from depthmask.compose.placing import NUM_DRAWS, Figure, Placement, Scene, place
from depthmask.compose.views import NUM_VIEW_DRAWS, Panorama, prepare_panorama, take_view
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Origin
from depthmask.keyed_random import PLACEMENT, REALISM, VIEW, draw_uniforms
from depthmask.params import ComposeParams
from depthmask.sources import Source

PREPARED_BYTES_MAX = 4 << 30  # limit for assets cached at the composed size; beyond it they are read for each use
PAIR_DRAWS = 2  # choice of background and cut-out, before the placement


def name_place(epoch: int, index: int) -> str:
    """The key of a sample identified only by epoch and index."""
    return f"{epoch:04d}_{index:06d}"


class Composer:
    """Composes the backgrounds and cut-outs of a part; shuffle: pair them at random."""

    def __init__(
        self,
        source: Source,
        backgrounds: Sequence[str],
        cutouts: Sequence[str],
        size_px: int,
        params: ComposeParams,
        seed: int,
        shuffle: bool = False,
    ):
        self.source, self.backgrounds, self.cutouts = source, backgrounds, cutouts
        self.size_px, self.params, self.seed, self.shuffle = size_px, params, seed, shuffle
        self._scenes: dict[str, Scene] = {}
        self._panoramas: dict[str, Panorama] = {}
        self._figures: dict[str, Figure] = {}
        self._num_bytes = 0

    def prepare(self) -> None:
        """Read every asset now, so that worker processes share one copy."""
        for key in self.backgrounds:
            if self.params.view_min is None:
                self._scene(key)
            else:
                self._panorama(key)
        for key in self.cutouts:
            self._figure(key)

    def fill(self, batch: ByteBatch, epochs: Sequence[int], indices: Sequence[int]) -> None:
        """Write the composite of each (epoch, index), and its origin, into the batch, in order."""
        draws_BN = draw_uniforms(self.seed, PLACEMENT, epochs, indices, PAIR_DRAWS + NUM_DRAWS)
        pairs = [self._pair(index, *draws) for index, draws in zip(indices, draws_BN[:, :PAIR_DRAWS].tolist(), strict=True)]
        scenes = self._choose_scenes([self.backgrounds[number] for number, _ in pairs], epochs, indices)
        figures = [self._figure(self.cutouts[number]) for _, number in pairs]
        placements = place(scenes, figures, self.params, draws_BN[:, PAIR_DRAWS:])
        finishes = self._draw_finishes(epochs, indices)
        clutter = self._place_clutter(scenes, [number for _, number in pairs], placements, epochs, indices)
        for b, (scene, figure, placement) in enumerate(zip(scenes, figures, placements, strict=True)):
            compose(batch, b, scene, figure, placement, self.params.shadow, finishes[b], clutter[b])
            batch.origins[b] = Origin(name_place(epochs[b], indices[b]), scene.key, figure.key, figure.kind)

    def _pair(self, index: int, draw_background: float, draw_cutout: float) -> tuple[int, int]:
        """Choose background and cut-out: at random for training, else each equally often, in new pairs."""
        num_backgrounds, num_cutouts = len(self.backgrounds), len(self.cutouts)
        if self.shuffle:
            return int(draw_background * num_backgrounds), int(draw_cutout * num_cutouts)
        return index % num_backgrounds, (index + index // math.lcm(num_backgrounds, num_cutouts)) % num_cutouts

    def _choose_scenes(self, keys: Sequence[str], epochs: Sequence[int], indices: Sequence[int]) -> list[Scene]:
        """The whole view of each background, or a random one."""
        view_min = self.params.view_min
        if view_min is None:
            return [self._scene(key) for key in keys]
        draws_BN = draw_uniforms(self.seed, VIEW, epochs, indices, NUM_VIEW_DRAWS)
        return [take_view(self._panorama(key), self.size_px, view_min, draws) for key, draws in zip(keys, draws_BN, strict=True)]

    def _draw_finishes(self, epochs: Sequence[int], indices: Sequence[int]) -> Sequence[Finish | None]:
        """How each foreground is fitted to its background."""
        if not self.params.fits_cutouts:
            return [None] * len(indices)
        return draw_finishes(self.params, draw_uniforms(self.seed, REALISM, epochs, indices, NUM_FINISH_DRAWS))

    def _place_clutter(
        self,
        scenes: Sequence[Scene],
        foregrounds: Sequence[int],
        placements: Sequence[Placement],
        epochs: Sequence[int],
        indices: Sequence[int],
    ) -> list[list[PlacedCutout]]:
        """The clutter of each sample, in drawing order; foregrounds: the numbers of their cut-outs."""
        clutter: list[list[PlacedCutout]] = [[] for _ in scenes]
        num_cutouts = len(self.cutouts)
        if not self.params.clutter or num_cutouts < 2:
            return clutter
        owners, draws_NM = draw_clutter(self.params.clutter, self.seed, epochs, indices)
        if not owners:
            return clutter
        numbers = [choose_other(draw, foregrounds[b], num_cutouts) for b, draw in zip(owners, draws_NM[:, CUTOUT], strict=True)]
        figures = [self._figure(self.cutouts[number]) for number in numbers]
        boxes = place([scenes[b] for b in owners], figures, self.params, draws_NM[:, PLACE])
        finishes = draw_finishes(self.params, draws_NM[:, FINISH]) if self.params.fits_cutouts else [None] * len(owners)
        for b, figure, box, finish in zip(owners, figures, boxes, finishes, strict=True):
            clutter[b].append(PlacedCutout(figure, box._replace(flip_background=placements[b].flip_background), finish))
        return [keep_behind(own, placement) for own, placement in zip(clutter, placements, strict=True)]

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

    def _panorama(self, key: str) -> Panorama:
        panorama = self._panoramas.get(key)
        if panorama is None:
            params = self.params
            background, depth_max = self.source.read_background(key), self.source.scale.max
            panorama = prepare_panorama(
                background, self.size_px, params.fit, depth_max, params.field_of_view_deg, params.view_min
            )
            self._keep(self._panoramas, key, panorama, [panorama.image, panorama.depth, panorama.valid, panorama.floor])
        return panorama

    def _figure(self, key: str) -> Figure:
        figure = self._figures.get(key)
        if figure is None:
            figure = prepare_cutout(self.source.read_cutout(key), self.size_px)
            self._keep(self._figures, key, figure, [figure.rgba_premultiplied, figure.relief])
        return figure

    def _keep(self, kept: dict, key: str, asset: Scene | Panorama | Figure, arrays: list[np.ndarray | None]) -> None:
        num_bytes = sum(a.nbytes for a in arrays if a is not None)
        if self._num_bytes + num_bytes <= PREPARED_BYTES_MAX:
            self._num_bytes += num_bytes
            kept[key] = asset
