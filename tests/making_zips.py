"""Small images, and zips of files, as bytes."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image


def make_png(size, mode="RGB"):
    data = io.BytesIO()
    picture = np.full((size, size, len(mode)), 200, np.uint8)
    if mode == "RGBA":
        picture[0, 0, 3] = 0
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def make_zip(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return data.getvalue()


BACKGROUNDS = {f"bg/room{number}.png": make_png(8 + number) for number in range(3)}
CUTOUTS = {f"fg/thing{number}.png": make_png(6, "RGBA") for number in range(3)}
