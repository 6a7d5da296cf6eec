"""The annotations that `depthmask cutouts` reads: one line each, the file of the same name has the function `read`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthmask.cutouts.objects import Reading
from depthmask.cutouts.palette import Palette

FORMATS: dict[str, str] = {
    "coco": "COCO instances: --annotations FILE.json --images FOLDER",
    "labelme": "LabelMe files: --annotations FOLDER, and --images FOLDER if the pictures are elsewhere",
    "cvat": "CVAT for images 1.1: --annotations annotations.xml --images FOLDER",
    "voc": "Pascal VOC: --annotations FOLDER with SegmentationObject/ or SegmentationClass/, and JPEGImages/",
    "cityscapes": "Cityscapes: --annotations gtFine --images leftImg8bit",
    "labels": "label pictures of class numbers or colours: --annotations FOLDER --images FOLDER --palette FILE",
    "masks": "a folder of masks: --annotations FOLDER --images FOLDER",
    "rgba": "pictures with a transparent background: --images FOLDER",
    "network": "photos without annotation, segmented by a pretrained network: --images FOLDER --segmenter FOLDER",
}


@dataclass(frozen=True)
class Request:
    """What the command line says about the annotation; each reader takes what it needs."""

    annotations: Path | None = None
    images: Path | None = None
    palette: Palette | None = None
    instance_divisor: int = 1000
    invert: bool = False
    allow_occluded: bool = False
    kind: str | None = None
    segmenter: Path | None = None
    device: str = "cpu"
    score_min: float = 0.5


def find_reader(name: str) -> Callable[[Request], Reading]:
    """The reader of a format; it raises UserError if the annotation as a whole cannot be read."""
    return importlib.import_module(f"depthmask.cutouts.{name}").read
