"""How far lossy compression carries unknown depth: python benchmarks/lossy_depth.py

Depth maps of the demo pack as 8 bits (255 = 10 m), with round holes of 0, saved and read again. Prints, for each format and
quality, the share of the holes that is no longer 0, and the 95th percentile of the error (of 255) by distance from a hole.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, features

DEMO = Path(__file__).resolve().parents[1] / "data/demo/bg_depth"
STEP, NUM_HOLES, RADII_PX = 6, 3, (10, 40)
DISTANCES_PX = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)
QUALITIES = (50, 75, 90, 95)


def draw_holes(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Three ellipses, bool."""
    holes = np.zeros(shape, np.uint8)
    for _ in range(NUM_HOLES):
        centre = int(rng.integers(shape[1])), int(rng.integers(shape[0]))
        axes = int(rng.integers(*RADII_PX)), int(rng.integers(*RADII_PX))
        cv2.ellipse(holes, centre, axes, 0, 0, 360, 1, -1)
    return holes.astype(bool)


def save_and_read(depth: np.ndarray, kind: str, quality: int) -> np.ndarray:
    """What a file of that format gives back, uint8."""
    picture, buffer = Image.fromarray(depth), io.BytesIO()
    (picture if kind == "JPEG" else picture.convert("RGB")).save(buffer, kind, quality=quality)
    return np.asarray(Image.open(buffer).convert("L"))


def main() -> None:
    kinds = ["JPEG", "WEBP", *(["AVIF"] if features.check("avif") else [])]
    print("format quality  holes not 0  error by distance:", *(f"{px:3}" for px in DISTANCES_PX))
    for kind in kinds:
        for quality in QUALITIES:
            rng, lifted, errors = np.random.default_rng(0), [], {px: [] for px in DISTANCES_PX}
            for path in sorted(DEMO.iterdir())[::STEP]:
                depth = (np.asarray(Image.open(path)) / 10000 * 255).clip(1, 255).round().astype(np.uint8)
                holes = draw_holes(depth.shape, rng)
                depth[holes] = 0
                read = save_and_read(depth, kind, quality)
                distance = cv2.distanceTransform((~holes).astype(np.uint8), cv2.DIST_C, 3).round()
                lifted.append(read[holes] != 0)
                for px, found in errors.items():
                    found.append(np.abs(read.astype(int) - depth)[distance == px])
            shown = [f"{np.percentile(np.concatenate(found), 95):3.0f}" for found in errors.values()]
            print(f"{kind:6} {quality:7}  {np.concatenate(lifted).mean():11.1%}                    ", *shown)


if __name__ == "__main__":
    main()
