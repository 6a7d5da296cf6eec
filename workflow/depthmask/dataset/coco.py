"""COCO's annotation file: an instance with a mask as run lengths for each composite."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from depthmask.data.batch import INSIDE
from depthmask.params import DepthParams

CATEGORY = {"id": 1, "name": "foreground", "supercategory": "foreground"}
BITS, MORE, SIGN, FIRST_CHARACTER = 5, 0x20, 0x10, 48  # of a character of compressed run lengths


def compress_runs(inside: np.ndarray) -> str:
    """COCO's compressed run lengths of a mask, bool H x W: down each column, beginning with pixels outside.

    Each length from the fourth on is stored as its difference from the one two before it, in groups of five bits, the lowest
    first, in two's complement, each with a sixth bit that says whether another follows, as a character from code 48 on (the
    format of `rleToString` in COCO's maskApi.c).
    """
    flat = inside.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = [0] * (1 + int(flat[0])) + changes.tolist() + [flat.size]
    counts = np.diff(edges).tolist()
    text = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group, value = value & (MORE - 1), value >> BITS
            is_last = value == (-1 if group & SIGN else 0)
            text.append(chr(FIRST_CHARACTER + group + (0 if is_last else MORE)))
            if is_last:
                break
    return "".join(text)


def describe_instance(mask: np.ndarray, number: int, kind: str | None) -> dict[str, Any] | None:
    """The annotation of a mask, uint8 H x W: binary, from alpha 128 of 255 on; None if nothing is visible. number: its id."""
    inside = mask >= INSIDE
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    annotation = {
        "id": number,
        "image_id": number,
        "category_id": CATEGORY["id"],
        "segmentation": {"size": list(mask.shape), "counts": compress_runs(inside)},
        "area": int(inside.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 0,
    }
    return annotation | ({"kind": kind} if kind else {})


def describe_depth(scale: DepthParams | None) -> dict[str, Any] | None:
    """What the values of the depth images mean: depth = value x scale, in `unit`."""
    if scale is None:
        return None
    unknown = {} if scale.raw_unknown is None else {"unknown": scale.raw_unknown}
    return {"unit": scale.unit, "polarity": scale.polarity, "scale": scale.max / scale.raw_max, "max": scale.max, **unknown}


def format_annotations(info: dict[str, Any], images: Iterable[dict], annotations: Iterable[dict]) -> Iterator[str]:
    """Pieces of the annotation file's text, so that it is never in memory as a whole; an entry a line."""
    yield f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": [{json.dumps(CATEGORY)}]'
    for name, entries in (("images", images), ("annotations", annotations)):
        yield f',\n"{name}": ['
        for number, entry in enumerate(entries):
            yield (",\n" if number else "\n") + json.dumps(entry)
        yield "\n]"
    yield "}\n"
