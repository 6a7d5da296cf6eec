"""Draws grids of images with captions and titles, and saves single images. The bytes also depend on Pillow's version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE_MIN_PX, GAP_PX, TEXT_PX = 112, 6, 12
JPEG_QUALITY = 88


def draw_grid(rows: Sequence[Mapping[str, np.ndarray]], titles: Sequence[str], captions: Mapping[str, str]) -> Image.Image:
    """One row of images per sample, with captions above the columns and a title above each row.

    Small images are enlarged by an integer factor, so that the captions fit.
    """
    height, width = next(iter(rows[0].values())).shape[:2]
    factor = max(1, math.ceil(TILE_MIN_PX / width))
    tile_w, tile_h = width * factor, height * factor
    row_h = TEXT_PX + GAP_PX + tile_h + GAP_PX
    header_h = TEXT_PX + 2 * GAP_PX
    size = (GAP_PX + len(captions) * (tile_w + GAP_PX), header_h + len(rows) * row_h)
    grid = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(TEXT_PX - 1)
    for column, caption in enumerate(captions.values()):
        draw.text((GAP_PX + column * (tile_w + GAP_PX), GAP_PX), caption, fill="black", font=font)
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = header_h + number * row_h
        draw.text((GAP_PX, top), title, fill="#555555", font=font)
        for column, name in enumerate(captions):
            tile = Image.fromarray(row[name]).resize((tile_w, tile_h), Image.Resampling.NEAREST)
            grid.paste(tile, (GAP_PX + column * (tile_w + GAP_PX), top + TEXT_PX + GAP_PX))
    return grid


def save_map(folder: Path, name: str, picture: np.ndarray) -> str:
    """Masks have few colours and sharp edges: PNG; the others: JPEG. Returns the file's name."""
    if "mask" in name:
        Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)
        return f"{name}.png"
    Image.fromarray(picture).save(folder / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
    return f"{name}.jpg"
