"""What the browser gets of a result: pictures to show, and the values under the pointer.

Shapes: photos are uint8 H x W x 3, maps H x W.
"""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthmask.app.results import Result
from depthmask.pictures.colours import VIRIDIS, find_depth_range, paint_depth

SIDE_MAX_PX = 1024  # of what is shown: the maps have no finer detail than the network saw
RAW_MAX = 65535
JPEG_QUALITY = 92


def describe_result(result: Result, token: str, seconds: float) -> dict[str, Any]:
    """The value of the viewer (viewer.js): a mapping of numbers, texts and pictures as data URLs.

    width, height: of the photo; shown: width and height of what is shown; values: depth / depth_max, then the mask, both x 65535
    as little-endian uint16 in rows, compressed by zlib, in base64. near, far: depths at the ends of the colour scale.
    """
    height, width = result.image.shape[:2]
    scale = min(1.0, SIDE_MAX_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    prediction = result.prediction
    depth, mask = (_resize(values, size) for values in (prediction.depth / np.float32(prediction.depth_max), prediction.mask))
    colours = find_depth_range(depth, np.ones_like(depth, bool))
    photo = np.asarray(Image.fromarray(np.asarray(result.image)).resize(size, Image.Resampling.BOX))
    values = np.round(np.clip(np.stack([depth, mask]), 0, 1) * RAW_MAX).astype("<u2")
    return {
        "name": result.name,
        "width": width,
        "height": height,
        "shown": list(size),
        "photo": _encode(photo),
        "depth": _encode(paint_depth(depth, colours)),
        "values": base64.b64encode(zlib.compress(values.tobytes(), 1)).decode(),
        "unit": prediction.depth_unit,
        "depth_max": prediction.depth_max,
        "near": colours[0] * prediction.depth_max,
        "far": colours[1] * prediction.depth_max,
        "scale": [f"rgb({red} {green} {blue})" for red, green, blue in VIRIDIS[::-1].tolist()],
        "files": f"results/{token}",
        "note": _describe_call(result, seconds),
    }


def _describe_call(result: Result, seconds: float) -> str:
    entry = result.photo
    models = entry.get("models") or [entry["model"]]
    sizes = {tuple(entry["network_size_px"]), tuple(entry["mask_network_size_px"])}
    seen = " and ".join(f"{width} × {height} px" for width, height in sorted(sizes))
    kind = "with its clean background" if entry["background"] else "alone"
    names = ", ".join(Path(model).name for model in models)
    return f"{result.name}, {kind}, by {names} at {seen} in {seconds:.2f} s"


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if values.shape == size[::-1]:
        return np.asarray(values)
    return np.asarray(Image.fromarray(np.asarray(values)).resize(size, Image.Resampling.BILINEAR))


def _encode(picture: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
