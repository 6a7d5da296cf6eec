"""Small archives in each layout of pre-composited samples, made from the demo pack, with what must be read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from looking_at_samples import Seen, compose_one
from PIL import Image

from depthmask.compose.compose import prepare_background, prepare_cutout
from depthmask.compose.placing import NUM_DRAWS, place
from depthmask.keyed_random import PLACEMENT, draw_uniforms
from depthmask.packing.pack import pack
from depthmask.packing.shards import PackPlan
from depthmask.params import load_params
from depthmask.sources.assets import DemoSource

PROJECT = Path(__file__).resolve().parents[1]
NEAR_IS_SMALL = {"unit": "relative", "polarity": "near_is_small", "max": 1.0, "raw_max": 255, "raw_unknown": None}
MAPS_OF_PHOTOS = (("images", "jpg"), ("masks", "png"), ("depth", "png"))
NEAR_IS_LARGE = NEAR_IS_SMALL | {"polarity": "near_is_large"}


@dataclass(frozen=True)
class Made:
    """A composite with its clean background, and the numbers, from 0, of what it was made of."""

    sample: Seen
    background: int
    cutout: int
    place: int


@dataclass(frozen=True)
class Expected:
    """What the layout's reader should call a composite and its parts; cutout None: the layout does not identify it."""

    key: str
    background: str
    cutout: str | None


@cache
def make_composites(num_backgrounds: int, num_cutouts: int, num_places: int, size_px: int = 48) -> tuple[Made, ...]:
    """num_places composites of each background with each cut-out, without shadow, ordered by background, cut-out, place."""
    params = load_params(PROJECT / "params.yaml")
    demo = DemoSource(PROJECT / "data/demo", params.download)
    scenes = [
        prepare_background(demo.read_background(key), size_px, "crop", demo.scale.max)
        for key in demo.backgrounds[:num_backgrounds]
    ]
    step = len(demo.cutouts) // num_cutouts
    figures = [prepare_cutout(demo.read_cutout(key), size_px) for key in demo.cutouts[::step][:num_cutouts]]
    made = []
    for background, scene in enumerate(scenes):
        for cutout, figure in enumerate(figures):
            for number in range(num_places):
                draws = draw_uniforms(0, PLACEMENT, [number], [background * num_cutouts + cutout], NUM_DRAWS)
                unflipped = params.compose.model_copy(update={"flip_background": 0.0})
                (placement,) = place([scene], [figure], unflipped, draws)
                sample = compose_one(scene, figure, placement, shadow=0, with_background=True)
                made.append(Made(sample, background, cutout, number))
    return tuple(made)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)


def _save_maps(made: Made, image: Path, mask: Path, depth: Path, near_is_large: bool = False) -> None:
    sample = made.sample
    save(image, sample.image)
    save(mask, (sample.mask * 255).round().astype(np.uint8))
    save(depth, ((1 - sample.depth if near_is_large else sample.depth) * 255).round().astype(np.uint8))


def _save_backgrounds(composites: tuple[Made, ...], name: Callable[[int], Path]) -> None:
    for made in {made.background: made for made in composites}.values():
        save(name(made.background), made.sample.background)


def _count(composites: tuple[Made, ...]) -> tuple[int, int, int]:
    return tuple(1 + max(getattr(made, name) for made in composites) for name in ("background", "cutout", "place"))


def write_flat_numbered(folder: Path, composites: tuple[Made, ...]) -> tuple[dict[str, Any], list[Expected]]:
    _, num_cutouts, num_places = _count(composites)
    expected = []
    for number, made in enumerate(composites, start=1):
        names = (f"images/fgbg{number:06d}.jpg", f"masks/mask{number:06d}.jpg", f"depth/fgbg{number:06d}.jpg")
        _save_maps(made, *(folder / name for name in names), near_is_large=True)
        expected.append(Expected(f"{number:06d}", f"bg{made.background:04d}", f"fg{made.cutout:04d}"))
    _save_backgrounds(composites, lambda background: folder / f"bare/room{background + 1}.jpg")
    numbering = {"composites_per_background": num_cutouts * num_places, "composites_per_cutout": num_places}
    return {"depth": NEAR_IS_LARGE, "backgrounds": "bare", **numbering}, expected


def write_nested(folder: Path, composites: tuple[Made, ...]) -> tuple[dict[str, Any], list[Expected]]:
    expected = []
    for made in composites:
        background, cutout, place_number = made.background + 1, made.cutout + 1, made.place + 1
        inner = folder / f"bg{background}/fg_{cutout}"
        _save_maps(made, *(inner / kind / f"{place_number}.jpg" for kind in ("overlay", "mask", "depth")))
        names = f"bg{background:04d}", f"fg{cutout:04d}"
        expected.append(Expected(f"{names[0]}_{names[1]}_{place_number:04d}", *names))
    _save_backgrounds(composites, lambda background: folder / f"bg/bg{background + 1}.jpg")
    return {"depth": NEAR_IS_SMALL}, expected


def write_flat_named(folder: Path, composites: tuple[Made, ...]) -> tuple[dict[str, Any], list[Expected]]:
    """Every second place is called a flip of the cut-out."""
    expected = []
    for made in composites:
        background, cutout = made.background + 1, made.cutout + 1
        name = f"bg{background}_{made.place // 2}_3{'_flip' if made.place % 2 else ''}_fg_{cutout}"
        paths = (f"{prefix}fgbg_{background}/{prefix}{name}.jpg" for prefix in ("", "mask_", "depth_"))
        _save_maps(made, *(folder / path for path in paths))
        expected.append(Expected(name, f"bg{background:04d}", f"fg{cutout:04d}"))
    _save_backgrounds(composites, lambda background: folder / f"bg/bg{background + 1}.jpg")
    return {"depth": NEAR_IS_SMALL, "backgrounds": "bg"}, expected


def write_parts(folder: Path, composites: tuple[Made, ...], start_anew: bool = False) -> tuple[dict[str, Any], list[Expected]]:
    """Two parts; numbers run on across them, and so do backgrounds, or (start_anew) each part has a place of every pair."""
    num_backgrounds, num_cutouts, num_places = _count(composites)
    per_part = -(-len(composites) // 2)
    if start_anew:
        per_part = num_backgrounds * num_cutouts
        composites = tuple(sorted(composites, key=lambda made: made.place))
    expected = []
    for index, made in enumerate(composites):
        number, part = index + 1, folder / f"data_Part{1 + index // per_part}"
        names = (f"Fg-Bg/fg-bg{number}.jpg", f"Fg-Bg-Mask/fg-bg-mask{number}.jpg", f"Depth/depth{number}.jpg")
        _save_maps(made, *(part / name for name in names), near_is_large=True)
        (part / "labels.txt").write_text("not read\n")
        expected.append(Expected(f"{number:06d}", f"bg{made.background:04d}", f"fg{made.cutout:04d}"))
    _save_backgrounds(composites, lambda background: folder / f"bgs/{background + 1}.jpg")
    per_cutout = 1 if start_anew else num_places
    numbering = {"composites_per_background": num_cutouts * per_cutout, "composites_per_cutout": per_cutout}
    parts = {"composites_per_part": per_part if start_anew else None}
    return {"depth": NEAR_IS_LARGE, "backgrounds": "bgs", **numbering, **parts}, expected


def write_four_zips(folder: Path, composites: tuple[Made, ...]) -> tuple[dict[str, Any], list[Expected]]:
    """Each kind in a folder of its own archive, one of them with a folder of its own above; a subfolder a cut-out."""
    expected = []
    for made in composites:
        name = f"f{made.cutout + 1}_b{made.background + 1}_{made.place}"
        tops = ("one/OverlayedImages", "two/OverlayedMasks", "three/inner/DepthImage")
        _save_maps(made, *(folder / top / f"set{made.cutout}" / f"{name}.jpg" for top in tops))
        expected.append(Expected(name, f"bg{made.background + 1:04d}", None))
    _save_backgrounds(composites, lambda background: folder / f"four/Background/room_{background + 1}.jpg")
    return {"depth": NEAR_IS_SMALL}, expected


WRITERS: dict[str, Callable[[Path, tuple[Made, ...]], tuple[dict[str, Any], list[Expected]]]] = {
    "flat_numbered": write_flat_numbered,
    "nested": write_nested,
    "flat_named": write_flat_named,
    "parts": write_parts,
    "four_zips": write_four_zips,
}


def write_photos(
    folder: Path, composites: tuple[Made, ...], lacks: Callable[[int, str], bool] = lambda *_: False
) -> dict[str, Any]:
    """The layout image_mask_depth, with composites in place of photos; returns the changes of `download`.

    lacks: whether the photo of that number, from 0, lacks its masks, depth or background.
    """
    for number, made in enumerate(composites):
        name = f"photo{number:04d}"
        maps = {kind: folder / f"{kind}/{name}.{suffix}" for kind, suffix in MAPS_OF_PHOTOS}
        _save_maps(made, *maps.values())
        save(folder / f"background/{name}.jpg", made.sample.background)
        for kind, file in (maps | {"background": folder / f"background/{name}.jpg"}).items():
            if lacks(number, kind):
                file.unlink()
    return {"depth": NEAR_IS_SMALL}


def pack_small(raw: Path, store: Path, sizes_px: tuple[int, ...] = (32,), fit: str = "crop", num_processes: int = 1) -> dict:
    """Pack what was downloaded in three parts; the work under way lies beside the store."""
    return pack(raw, store, PackPlan(sizes_px, fit, num_shards=3), num_processes, store.parent / "shards").record


def make_download(params, layout: str, folder: Path, changes: dict[str, Any]):
    """DownloadParams for a folder of that layout; `params`: those of the project, whose other keys stay."""
    return type(params.download)(**(params.download.model_dump() | {"source": layout, "path": str(folder)} | changes))
