"""A project with three sources: the tiny pack, rooms in metres up to another depth, and composites of relative depth."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from making_layouts import WRITERS, make_composites
from PIL import Image, ImageOps

DEMO = Path(__file__).resolve().parents[1] / "data/demo"
FIRST_ROOM, NUM_ROOMS = 40, 10  # of the demo pack's pictures, which the tiny pack does not have
COPIED = "002"  # a background of the tiny pack that the rooms hold again, flipped
ROOM_DEPTH = {"unit": "metre", "polarity": "near_is_small", "max": 5.0, "raw_max": 500, "raw_unknown": 0}
MASK_AND_SHAPE = {"mask": {"bce_with_logits": 2.0}, "depth": {"log_l1": 1.5, "scale_shift_invariant": 1.0}}


def write_rooms(folder: Path) -> Path:
    """Backgrounds and cut-outs of the demo pack under other names; depth in centimetres, 0 where it is unknown."""
    for kind in ("bg", "bg_depth", "fg"):
        (folder / kind).mkdir(parents=True)
    for number in range(FIRST_ROOM, FIRST_ROOM + NUM_ROOMS):
        stem = f"{number:03d}"
        cutout = find_one("fg", stem)
        shutil.copyfile(cutout, folder / "fg" / f"chair_{number}{cutout.suffix}")
        _write_room(folder, f"room_{number}", stem, flip=False)
    _write_room(folder, "room_copy", COPIED, flip=True)
    return folder


def find_one(kind: str, stem: str) -> Path:
    (path,) = (DEMO / kind).glob(f"{stem}.*")
    return path


def _write_room(folder: Path, name: str, stem: str, flip: bool) -> None:
    turn = ImageOps.mirror if flip else (lambda image: image)
    with Image.open(find_one("bg", stem)) as photo, Image.open(find_one("bg_depth", stem)) as depth:
        turn(photo).save(folder / "bg" / f"{name}.png")
        centimetres = (np.asarray(turn(depth)).astype(np.float64) / 10).round().clip(1, 65535).astype(np.uint16)
        Image.fromarray(centimetres).save(folder / "bg_depth" / f"{name}.png")


def write_sources(root: Path) -> dict[str, Any]:
    """Write rooms/ and composites/ below `root`; returns `download.more_sources`, with paths relative to it."""
    write_rooms(root / "rooms")
    changes, _ = WRITERS["nested"](root / "composites", make_composites(10, 5, 4))
    return {
        "rooms": {"weight": 0.5, "source": "assets", "path": "rooms", "depth": ROOM_DEPTH},
        "composites": {"weight": 0.5, "source": "nested", "path": "composites", **changes},
    }
