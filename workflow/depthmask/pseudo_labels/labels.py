"""Makes pseudo labels, caches them by the image's content, and copies them to where the source's layout expects depth maps.

CACHE/pseudo_labels/MODEL/         MODEL: the first digits of the sha256 of everything but the image that a label depends on
    PICTURE.LABEL.png              sha256 of the image's bytes, and of the label's own
    model.json                     what MODEL stands for
    lock                           held while labels are made
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hash_json, hold_lock, replace_file, write_json
from depthmask.base.terminal import note, track
from depthmask.catalog.model_folder import KEY, Gives
from depthmask.data.images import read_rgb
from depthmask.execution.speed_options import read_speed_options
from depthmask.params import DepthParams
from depthmask.pseudo_labels.network import PseudoLabelModel
from depthmask.sources import Source

VERSION = 1  # to be raised when the same image and model give another label
RAW_MAX = 65535
WAITING_MAX = 8  # batches' worth of images of various sizes that wait for others of their size


def label_source(source: Source, folder: Path, model: PseudoLabelModel, cache: Path) -> None:
    """Write a depth map for each image of `source` that is to have one into `folder`, at its place in the layout.

    An image that cannot be labelled is treated as any bad sample of the source.

    Raises:
        UserError: the source has depth maps, or an image cannot be labelled (unless such are skipped).
    """
    if source.has_depth:
        raise UserError(f"{source.root}: has depth maps already; set {KEY} to null, or take them out of it")
    keys, places, pictures = defaultdict(list), {}, {}
    for key, picture, place in track(source.list_unlabelled(), "looking for labels", "images"):
        content = hash_file(picture)
        keys[content].append(key)
        places[key], pictures[content] = folder / place.relative_to(source.root), picture
    with _open_store(cache, model, source.scale) as store:
        missing = {}
        for content, picture in pictures.items():
            known = store.find(content)
            if known is None:
                missing[content] = picture
            else:
                _copy(known, [places[key] for key in keys[content]])
        if len(missing) < len(pictures):
            note(f"depth maps of {len(pictures) - len(missing):,} of {len(pictures):,} images are there, in {store.folder}")
        made = make_labels(model, source.scale, missing)
        for content, label in track(made, "labelling", "images", len(missing)):
            if isinstance(label, UserError):
                source.bad.meet(label, keys[content])
                for key in keys[content]:
                    source.skip(key)
            else:
                _copy(store.keep(content, label), [places[key] for key in keys[content]])


def make_labels(
    model: PseudoLabelModel, scale: DepthParams, pictures: dict[str, Path]
) -> Iterator[tuple[str, bytes | UserError]]:
    """The PNG of each image's depth map, or why there is none, by the image's name in `pictures`; in any order."""
    waiting: dict[torch.Size, list[_Prepared]] = defaultdict(list)

    def prepare(item: tuple[str, Path]) -> _Prepared | tuple[str, UserError]:
        name, path = item
        try:
            image = read_rgb(path)
            return _Prepared(name, path, image.shape[:2], model.prepare(image))
        except UserError as error:
            return name, error if str(path) in str(error) else UserError(f"{path}: {error}; remove it, or crop it")

    for one in _map_ahead(prepare, pictures.items(), 2 * model.at_once):
        if not isinstance(one, _Prepared):
            yield one
            continue
        waiting[one.pixels.shape].append(one)
        fullest = max(waiting, key=lambda shape: len(waiting[shape]))
        is_crowded = sum(map(len, waiting.values())) >= WAITING_MAX * model.at_once
        if is_crowded or len(waiting[fullest]) == model.at_once:
            yield from _finish(model, scale, waiting.pop(fullest))
    for batch in waiting.values():
        yield from _finish(model, scale, batch)


def encode(depth_HW: np.ndarray, gives: Gives, depth_max: float) -> np.ndarray:
    """A prediction as uint16 of 0..65535: metres up to `depth_max`, or disparity over its own range in this image.

    Disparity has no scale and no zero that two images would share, so that stretching each to its own range loses nothing.

    Raises:
        UserError: it is not finite, or the same everywhere.
    """
    depth = depth_HW.astype(np.float64)
    low, high = (depth.min(), depth.max()) if gives == "disparity" else (0.0, depth_max)
    if not np.isfinite(depth).all() or depth.min() == depth.max():
        raise UserError("the pseudo-label model predicts the same depth everywhere, or none")
    return np.round((depth - low).clip(0, high - low) / (high - low) * RAW_MAX).astype(np.uint16)


class _Prepared(NamedTuple):
    name: str
    path: Path
    size: tuple[int, int]
    pixels: torch.Tensor


def _finish(model: PseudoLabelModel, scale: DepthParams, batch: list[_Prepared]) -> Iterator[tuple[str, bytes | UserError]]:
    depths = model.predict([one.pixels for one in batch], [one.size for one in batch])
    for one, depth in zip(batch, depths, strict=True):
        try:
            raw = encode(depth, model.gives, scale.max)
        except UserError as error:
            yield one.name, UserError(f"{one.path}: {error}; remove it, or name another {KEY}.model")
        else:
            png = io.BytesIO()
            Image.fromarray(raw).save(png, "PNG")
            yield one.name, png.getvalue()


def _map_ahead(function: Callable, items: Iterable, num_ahead: int) -> Iterator[Any]:
    """`function` of each item, in order, begun in threads before it is asked for: a GPU is not to wait for JPEG."""
    with ThreadPoolExecutor(max(1, read_speed_options().num_workers)) as pool:
        begun: deque = deque()
        try:
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) > num_ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for left in begun:
                left.cancel()


def _copy(label: Path, places: Iterable[Path]) -> None:
    """Lay a label at the place of each image that it is of: the same image may be there under several names."""
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(label, place)


class _Store:
    """Labels of one model by the sha256 of the image."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._paths = {path.name.partition(".")[0]: path for path in folder.glob("*.*.png") if not path.name.startswith(".")}

    def find(self, content: str) -> Path | None:
        """A label that is whole; None where there is none, or a damaged one."""
        path = self._paths.get(content)
        return path if path is not None and hash_file(path) == path.name.split(".")[1] else None

    def keep(self, content: str, png: bytes) -> Path:
        path = self.folder / f"{content}.{hashlib.sha256(png).hexdigest()}.png"
        with replace_file(path) as temporary:
            temporary.write_bytes(png)
        return path


@contextlib.contextmanager
def _open_store(cache: Path, model: PseudoLabelModel, scale: DepthParams) -> Iterator[_Store]:
    decides = {**model.identity, "version": VERSION, "max": scale.max if model.gives == "metres" else None}
    folder = cache / "pseudo_labels" / hash_json(decides)[:24]
    with hold_lock(folder, f"{model.params.model}: another process is labelling with it; waiting for that"):
        for left in folder.glob(".*.part"):  # of a killed run
            left.unlink()
        write_json(folder / "model.json", {"model": model.params.model, **decides})
        yield _Store(folder)
