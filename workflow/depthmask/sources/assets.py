"""Backgrounds and cut-outs that are composed during training; the demo pack is one such folder.

bg/NAME.jpg            backgrounds, any size
bg_depth/NAME.png      their depth maps, 8 or 16 bit, or floating-point (optional: all or none)
fg/NAME.png            cut-outs with alpha, any size
fg_depth/NAME.png      their relief, 8 bit: metres = (value - 128) / 100, relative to the depth of the foot; or metres as
                       floating-point numbers (optional)
pack.json              cameras of backgrounds, kinds and sizes of cut-outs (optional)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.paths import validate_path
from depthmask.data.cutouts import Trimmed, trim_cutout
from depthmask.data.formats import CUTOUT_SUFFIXES, DEPTH_SUFFIXES, SUFFIXES
from depthmask.data.images import decode_depth, read_rgb, read_rgba, read_values
from depthmask.data.lossy import read_stored_depth
from depthmask.data.sample import Background, Camera, Cutout
from depthmask.params import DepthParams, DownloadParams
from depthmask.sources.layout import BadSamples, list_pictures, match_partners, require_same_size
from depthmask.sources.pack_json import BackgroundSpec, CutoutSpec, PackSpec, find_unknown_names, read_pack
from depthmask.sources.plausibility import Finding, judge_cutouts, judge_depth, raise_errors
from depthmask.sources.value_statistics import CutoutValues, DepthValues

FOLDERS = {"bg": SUFFIXES, "fg": CUTOUT_SUFFIXES, "bg_depth": DEPTH_SUFFIXES, "fg_depth": DEPTH_SUFFIXES}
RELIEF_ZERO, RELIEF_STEPS_PER_METRE = 128, 100


class AssetsSource:
    """A folder in the layout above. `backgrounds` and `cutouts` are the keys, sorted; `composites` is empty."""

    needs_pack = False
    composites = ()
    has_backgrounds = True

    def __init__(self, root: Path, download: DownloadParams):
        self.root, self.scale, self.download = root, download.depth, download
        self.bad = BadSamples(root, download.on_bad_sample == "skip")
        self.warnings: list[str] = []
        self._depth_values, self._cutout_values = DepthValues(), CutoutValues()
        self._backgrounds = list_pictures(root / "bg", bad=self.bad)
        self._cutouts = list_pictures(root / "fg", CUTOUT_SUFFIXES, self.bad)
        self._depths = self._list_partners("bg_depth", self._backgrounds, "depth map")
        if not self._depths:
            self.warnings.append("no depth maps in bg_depth: only masks can be learnt and scored")
        self._reliefs = self._list_partners("fg_depth", self._cutouts, "relief")
        self._pack = self._read_pack()
        self._name_keys()
        self.background_kinds = {key: _name_kind(self._pack.backgrounds.get(key), key) for key in self.backgrounds}
        self.cutout_kinds = {key: _name_kind(self._pack.cutouts.get(key), key) for key in self.cutouts}

    @property
    def expected_folders(self) -> tuple[str, ...]:
        """The names of folders that the layout may have."""
        return tuple(FOLDERS)

    def list_folders(self) -> dict[Path, tuple[str, ...]]:
        """The folders that are read, each with the suffixes of the files read in it."""
        groups = (self._backgrounds, self._cutouts, self._depths, self._reliefs)
        return {self.root / name: suffixes for (name, suffixes), group in zip(FOLDERS.items(), groups, strict=True) if group}

    @property
    def has_depth(self) -> bool:
        return bool(self._depths)

    def files(self) -> list[Path]:
        """Every file that belongs to the source."""
        pictures = [self._backgrounds, self._depths, self._cutouts, self._reliefs]
        pack = [self.root / "pack.json"] if self._pack.model_fields_set else []
        return [file for group in pictures for file in group.values()] + pack

    @property
    def skipped(self) -> list[dict[str, str]]:
        """What was skipped and why, as {"key", "reason"}."""
        return self.bad.listed

    def check(self) -> Iterator[str]:
        """Read everything once, yielding each key; raises UserError at the first bad file, or if all values cannot be right.

        With `on_bad_sample: skip`, the sample is listed and skipped with its depth map or relief.
        """
        self._depth_values, self._cutout_values = DepthValues(), CutoutValues()
        for keys, read, values, groups in (
            (self.backgrounds, self.read_background, self._depth_values, (self._backgrounds, self._depths)),
            (self.cutouts, self.read_cutout, self._cutout_values, (self._cutouts, self._reliefs)),
        ):
            for key in keys:
                try:
                    read(key, values)
                except UserError as error:
                    self.bad.meet(error, [key])
                    _drop([key], groups)
                yield key
        self._name_keys()
        self.bad.require_most_good(len(self.backgrounds) + len(self.cutouts))
        self.warnings += raise_errors(self.judge(), self.download)

    def judge(self) -> list[Finding]:
        """What is odd about the values of everything read since `check` began."""
        depths = judge_depth(self._depth_values, self.scale, "bg_depth")
        return [*depths, *judge_cutouts(self._cutout_values)]

    def list_unlabelled(self) -> list[tuple[str, Path, Path]]:
        """(key, image, path of its depth map) for each background of a source without depth maps."""
        return [(key, picture, self.root / "bg_depth" / f"{key}.png") for key, picture in self._backgrounds.items()]

    def skip(self, key: str) -> None:
        """Skip a background."""
        _drop([key], (self._backgrounds, self._depths))
        self._name_keys()

    def _name_keys(self) -> None:
        self.backgrounds, self.cutouts = tuple(self._backgrounds), tuple(self._cutouts)

    def read_background(self, key: str, values: DepthValues | None = None) -> Background:
        """Read a background with its depth; values: to add the depth's to."""
        path = self._backgrounds[key]
        image, depth, valid = read_rgb(path), None, None
        if self._depths:
            stored = read_stored_depth(self._depths[key], self.scale)
            require_same_size(path, image.shape, self._depths[key], stored.raw.shape, "depth map")
            depth, valid = decode_depth(stored.raw, self.scale)
            if values is not None:
                values.add(stored.raw, depth, valid, self._name(self._depths[key]), stored.num_band_px)
        spec = self._pack.backgrounds.get(key)
        camera = _make_camera(spec) if spec and _is_metric(self.scale) else None
        return Background(key, image, depth, valid, camera)

    def read_cutout(self, key: str, values: CutoutValues | None = None) -> Cutout:
        """Read a cut-out with its relief, trimmed to the figure; values: to add it to."""
        path = self._cutouts[key]
        rgba, relief = read_rgba(path), None
        trimmed = trim_cutout(rgba, path)
        if self._reliefs and _is_metric(self.scale):
            whole = _read_relief(self._reliefs[key])
            require_same_size(path, rgba.shape, self._reliefs[key], whole.shape, "relief")
            relief = whole[trimmed.box.part]
        if values is not None:
            values.add(trimmed, self._name(path))
        return Cutout(key, trimmed.rgba, relief, self.cutout_kinds[key], self._find_scale(key, trimmed))

    def _find_scale(self, key: str, trimmed: Trimmed) -> float | None:
        """Units per pixel of a cut-out, if they or the height of the figure are known."""
        spec = self._pack.cutouts.get(key)
        if spec is None or not _is_metric(self.scale):
            return None
        if spec.pixels_per_m:
            return 1 / spec.pixels_per_m
        return spec.height_m / trimmed.figure.height if spec.height_m else None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _list_partners(self, name: str, of: dict[str, Path], what: str) -> dict[str, Path]:
        folder = self.root / name
        if not folder.is_dir():
            return {}
        partners = list_pictures(folder, DEPTH_SUFFIXES, self.bad)
        _drop(match_partners(of, partners, folder, what, self.bad), (of, partners))
        return partners

    def _read_pack(self) -> PackSpec:
        path = self.root / "pack.json"
        validate_path(path)
        if path.exists():
            pack = read_pack(path)
            skipped = {one["key"] for one in self.bad.listed}
            self.warnings += find_unknown_names(path, pack, skipped | self._backgrounds.keys(), skipped | self._cutouts.keys())
            return pack
        if self.needs_pack:
            raise UserError(f"{path}: no such file; the demo pack has one, use download.source: assets for other folders")
        return PackSpec()


class DemoSource(AssetsSource):
    """The demo pack: assets with known cameras and sizes, so that cut-outs can stand on the floor."""

    needs_pack = True


def _drop(keys: Iterable[str], groups: Iterable[dict[str, Path]]) -> None:
    for group in groups:
        for key in keys:
            group.pop(key, None)


def _read_relief(path: Path) -> np.ndarray:
    """A relief in metres, float32 H x W: floating-point files hold metres themselves, 0 where unknown."""
    values = read_values(path)
    if values.dtype.kind == "f":
        return np.where(np.isfinite(values), values, np.float32(0))
    if values.min() < 0 or values.max() > 255:
        raise UserError(
            f"{path}: relief with values up to {values.max():g}; expected 8 bits, metres = (value - {RELIEF_ZERO}) /"
            f" {RELIEF_STEPS_PER_METRE}; convert it"
        )
    return (values.astype(np.float32) - RELIEF_ZERO) / RELIEF_STEPS_PER_METRE


def _is_metric(scale: DepthParams) -> bool:
    return scale.unit == "metre"


def _make_camera(spec: BackgroundSpec) -> Camera | None:
    values = (spec.focal_px, spec.camera_height_m, spec.camera_pitch_rad)
    return None if None in values else Camera(*values)


def _name_kind(spec: BackgroundSpec | CutoutSpec | None, key: str) -> str | None:
    """The kind from pack.json; without one, the name up to its first digit, - or _."""
    return (spec.kind if spec else None) or re.split(r"[-_\d]", key, maxsplit=1)[0] or None
