"""Photos without annotation, segmented by a pretrained network of the transformers package (extra `segmentation`).

transformers and not rembg: it reads plain folders of safetensors, gives kinds and separate objects, runs on the torch that is
there already, and is an extra of this project for pseudo labels, while rembg brings ONNX Runtime and a download of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthmask.base.errors import UserError, format_install_command
from depthmask.base.files import JsonError, hash_file, read_json
from depthmask.cutouts.folders import PictureFolder, require_folder
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import find_parts
from depthmask.cutouts.objects import UNREADABLE, UNWANTED, Found, Picture, Reading, SegmenterError, View, Wants
from depthmask.cutouts.palette import NOTHING

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "*.safetensors"
INSTALL = format_install_command("segmentation")
TASKS = ("ForSemanticSegmentation", "ForInstanceSegmentation", "ForUniversalSegmentation", "ForSegmentation")


def read(request: Request) -> Reading:
    """List the photos; nothing is known about them until the network has seen them.

    Raises:
        UserError: the folder of the network is incomplete, or transformers is not installed.
    """
    photos = PictureFolder(require_folder(request.images, "--images", "folder of photos"))
    model = require_folder(request.segmenter, "--segmenter", "folder of a segmentation network with config.json")
    config = _read_config(model)
    network = Network(model, request.device, request.score_min, tuple(hash_file(path) for path in _list_files(model)))
    if not photos.files:
        raise UserError(f"{photos.folder}: contains no picture")
    pictures = [Picture(name, path, NetworkObjects(network)) for name, path in photos.files.items()]
    names = config.get("id2label")
    kinds = {str(name) for name in names.values()} if isinstance(names, dict) else None
    return Reading(pictures, unread=photos.list_unread(photos.files), kinds=kinds)


def _read_config(folder: Path) -> dict[str, Any]:
    for name in (CONFIG, PREPROCESSOR):
        if not (folder / name).is_file():
            raise UserError(f"--segmenter {folder}: contains no {name}; name a folder as save_pretrained writes it")
    if not list(folder.glob(WEIGHTS)):
        raise UserError(f"--segmenter {folder}: contains no {WEIGHTS}; weights in other formats can run code and are not read")
    try:
        config = read_json(folder / CONFIG)
    except JsonError as error:
        raise UserError(f"--segmenter {folder}: {CONFIG} is not JSON ({error.reason}); fetch the model again") from error
    architectures = config.get("architectures") if isinstance(config, dict) else None
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else "nothing"
    if not name.endswith(TASKS):
        raise UserError(f"--segmenter {folder}: is {name}, not a segmentation network; allowed: {', '.join(TASKS)}")
    _import()
    return config


def _list_files(folder: Path) -> list[Path]:
    return sorted([folder / CONFIG, folder / PREPROCESSOR, *folder.glob(WEIGHTS)])


def _import() -> Any:
    try:
        import transformers  # late: an optional package, and it takes seconds
    except ImportError as error:
        raise SegmenterError(f"--segmenter: transformers is not installed; {INSTALL}") from error
    return transformers


@dataclass(frozen=True)
class Network:
    """Names a network. files: sha256 of its files, so that a rerun notices other weights."""

    folder: Path
    device: str
    score_min: float
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkObjects:
    """What the network segments; the connected parts of a class if it does not separate objects."""

    network: Network

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        try:
            results = _load(self.network)(Image.fromarray(view.image), threshold=self.network.score_min)
        except (ValueError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            yield Found("network", None, fault=UNREADABLE, detail=f"the network cannot segment it ({reason})")
            return
        separates = any(result.get("score") is not None for result in results)
        for number, result in enumerate(results, 1):
            kind, inside = str(result["label"]), np.asarray(result["mask"]) > 0
            if not inside.any() or kind.lower() in NOTHING:
                continue
            place = f"object {number}" if separates else f"region {number}"
            if not wants(kind):
                yield Found(place, kind, fault=UNWANTED)
            elif separates:
                yield Found(place, kind, inside.astype(np.uint8) * 255)
            else:
                yield from find_parts(inside, place, kind)


@functools.cache
def _load(network: Network) -> Any:
    """The network in this process. One thread: results must not depend on how many processes share the machine.

    Raises:
        SegmenterError: the files do not make a network.
    """
    import torch

    transformers = _import()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(network.folder, **local)
        processor = transformers.AutoImageProcessor.from_pretrained(network.folder, use_fast=False, **local)
        cls = getattr(transformers, config.architectures[0])
        model, info = cls.from_pretrained(
            network.folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
        if info["missing_keys"]:
            raise ValueError(f"lacks {len(info['missing_keys'])} of the network's weights, such as {min(info['missing_keys'])}")
        return transformers.pipeline("image-segmentation", model=model.eval(), image_processor=processor, device=network.device)
    except Exception as error:  # what its many readers raise on damaged files has no common class
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SegmenterError(
            f"--segmenter {network.folder}: cannot be loaded ({reason}); fetch it again, or name another"
        ) from error
