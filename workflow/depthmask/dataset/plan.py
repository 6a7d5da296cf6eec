"""What is written: which composites, in which layout, at what size; and what decides every byte of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hash_json
from depthmask.dataset.encoding import Encoder, choose_scale
from depthmask.dataset.layouts import LAYOUTS, SHARED_OFF, Grid, Layout
from depthmask.execution.import_closure import find_closure
from depthmask.loading.dataset import ComposedSet, open_samples
from depthmask.loading.split_files import read_weights
from depthmask.params import ComposeParams, Params
from depthmask.params.mixture import list_sources
from depthmask.sources import find_source_class, read_record
from depthmask.sources.pre_composited import PreCompositedSource

BLOCK = 100  # composites that are made, and counted as done, together; whatever the number of processes or shards
SOURCE = Path(__file__).parents[2]  # of the package, for the hash of its code


@dataclass(frozen=True)
class Request:
    """What a user asks for. image_format: png or jpg; None: the layout's usual one. source: of several, its name."""

    layout: str
    part: str
    count: int
    size_px: int
    epoch: int = 0
    image_format: str | None = None
    with_background: bool = True
    source: str | None = None


@dataclass(frozen=True)
class Folders:
    """Those of the stages download, download_more and split."""

    raw: Path
    more: Path
    split: Path


@dataclass(frozen=True)
class Plan:
    """samples: where composites come from. off: keys of compose that do not apply in this layout, with their values in params.

    settings: all that decides the result, by name.
    """

    request: Request
    samples: ComposedSet
    encoder: Encoder
    off: dict[str, Any]
    settings: dict[str, Any]

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.request.layout]

    @cached_property
    def grid(self) -> Grid:
        composer = self.samples.composer
        return Grid.fit(len(composer.backgrounds), len(composer.cutouts), self.request.count)

    @cached_property
    def numbers(self) -> tuple[dict[str, int], dict[str, int]]:
        """The number of each background, and of each cut-out, in their part of the split, from 0."""
        composer = self.samples.composer
        backgrounds, cutouts = (
            {key: number for number, key in enumerate(keys)} for keys in (composer.backgrounds, composer.cutouts)
        )
        return backgrounds, cutouts

    @property
    def num_clean(self) -> int:
        """How many clean backgrounds are written that composites share."""
        has_shared = self.layout.is_published and self.request.with_background
        return min(self.request.count, self.grid.num_backgrounds) if has_shared else 0

    @property
    def num_blocks(self) -> int:
        """Blocks of composites; the last block is that of the clean backgrounds that composites share, if any."""
        return -(-self.request.count // BLOCK) + bool(self.num_clean)

    def list_indices(self, block: int) -> range:
        """The indices of a block's composites; none in that of the clean backgrounds."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.request.count))


def make_plan(request: Request, params: Params, folders: Folders) -> Plan:
    """Open the part of the split that the composites are made from.

    Raises:
        UserError: download or split has not run, the part is empty, the source is one of ready composites, or of several sources
            none is named.
    """
    raw, split, name = _choose_source(request, params, folders)
    record = read_record(raw, "download")
    if issubclass(find_source_class(record["download"]["source"]), PreCompositedSource):
        raise UserError(
            f"{raw}: {record['download']['source']} holds ready samples; depthmask dataset writes composites of backgrounds and"
            " cut-outs (download.source: demo or assets)"
        )
    layout = LAYOUTS[request.layout]
    compose, off = _turn_off(params.compose) if layout.is_published else (params.compose, {})
    seed = params.seed if request.part == "train" else params.split_seed
    samples = open_samples(
        raw,
        split,
        request.part,
        image_size_px=request.size_px,
        compose=compose,
        seed=seed,
        num_samples=request.count,
        with_background=request.with_background,
    )
    assert isinstance(samples, ComposedSet)
    if layout.is_published:
        samples.composer.shuffle = False  # each pair equally often, as in those sets
    image_format = request.image_format or ("jpg" if layout.is_published else "png")
    map_format = "png" if layout.masks_as_png else image_format
    source = samples.composer.source
    encoder = Encoder(image_format, map_format, choose_scale(source.scale, map_format) if source.has_depth else None)
    settings = {
        "layout": request.layout,
        "part": request.part,
        "count": request.count,
        "size_px": request.size_px,
        "epoch": request.epoch,
        "format": image_format,
        "backgrounds": request.with_background,
        "source": name,
        "seed": seed,
        "compose": samples.composer.params.model_dump(),
        "depth": source.scale.model_dump(),
        "data_sha256": record["sha256"],
        "split_sha256": hash_file(split / f"{request.part}.csv"),
        "libraries": {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": Image.__version__},
        "code": _hash_code(),
    }
    return Plan(request, samples, encoder, off, settings)


def _choose_source(request: Request, params: Params, folders: Folders) -> tuple[Path, Path, str]:
    """The folders of the source and of its split, and its name."""
    names = list(read_weights(folders.split)) or [next(iter(list_sources(params.download)))]
    if request.source is not None and request.source not in names:
        raise UserError(f"--source {request.source}: no such source; allowed: {', '.join(names)}")
    if len(names) == 1:
        return folders.raw, folders.split, names[0]
    if request.source is None:
        raise UserError(f"--source: the split is of several sources; name one: {', '.join(names)}")
    raw = folders.raw if request.source == names[0] else folders.more / request.source
    return raw, folders.split / request.source, request.source


def _turn_off(compose: ComposeParams) -> tuple[ComposeParams, dict[str, Any]]:
    """Without what would give composites clean backgrounds of their own; and what that changes."""
    off = {key: getattr(compose, key) for key, value in SHARED_OFF.items() if getattr(compose, key) != value}
    return compose.model_copy(update=dict(SHARED_OFF)), off


@cache
def _hash_code() -> str:
    paths = find_closure(SOURCE, "depthmask.dataset.writing")
    return hash_json({path.relative_to(SOURCE).as_posix(): hash_file(path) for path in paths})[:12]


def declare_download(plan: Plan, out: Path) -> dict[str, Any]:
    """The keys of `download` in params.yaml with which the folder is read back."""
    depth = plan.encoder.scale or plan.samples.composer.source.scale
    declared = plan.layout.declare(plan.grid)
    if not plan.request.with_background and "backgrounds" in declared:
        declared["backgrounds"] = None
    return {"source": plan.layout.source, "path": str(out), "depth": depth.model_dump(), **declared}


def describe_differences(earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """`count was 100, is 200`; empty if there are none."""
    keys = [key for key in settings if earlier.get(key) != settings[key]]
    plain = {key for key in keys if not isinstance(settings[key], dict)}
    return ", ".join(f"{key} was {earlier.get(key)}, is {settings[key]}" if key in plain else f"{key} differs" for key in keys)
