"""How far off the points of a predicted photo are: python benchmarks/point_clouds.py

On the demo pack, whose rooms were rendered, so that cameras and depths are known. Prints

- with the pack's depth: how far points of the floor are from the floor, whose place below the camera `pack.json` gives;
- with the depth of the models that come with depthmask, on composites of backgrounds and cut-outs not trained on: the distance
  between each point and its place by the pack's depth, its median in an image, mean over images; at the field of view trained
  for, and of the whole backgrounds, whose cameras see more, with and without declaring that;
- of the pixels along a foreground that stands clear of what is behind it, the share whose depth is somewhere between the two,
  before and after pixels at depth edges are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

import depthmask
from depthmask.base.files import read_json
from depthmask.loading.dataset import open_samples
from depthmask.loading.loader import load_in_order
from depthmask.params import load_params
from depthmask.point_clouds.camera import choose_camera, find_focal_px
from depthmask.point_clouds.edges import find_depth_edges
from depthmask.point_clouds.points import make_points
from depthmask.recipes import resolve_recipe
from depthmask.serving.predictor import PhotoPrediction
from stages import download, split

PROJECT = Path(__file__).resolve().parents[1]
DEMO = PROJECT / "data/demo"
SIDE_PX, BATCH = 224, 16
NEAR_PLANE_M = 0.05  # in front of the camera: the pack's depth starts there, so it is that much too small everywhere
CLEAR = 1.3  # the true depth behind a foreground over its own, from which it stands clear
BAND_PX, LEVEL_PX = 3, 8  # around an outline; around a pixel, for the depth of either side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=48, help="composites, at most 384 (%(default)s)")
    args = parser.parse_args()
    measure_floors()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        params = prepare()
        for name, angle in (("53 degrees, as trained for", params.compose.field_of_view_deg), ("whole backgrounds", None)):
            compose = params.compose.model_copy(update={"field_of_view_deg": angle})
            samples = open_samples(
                Path("raw"), Path("split"), "test", image_size_px=SIDE_PX, compose=compose, seed=params.seed,
                num_samples=args.samples, with_background=True,
            )  # fmt: skip
            batches = list(load_in_order(samples, BATCH, range(args.samples)))
            for background in (True, False):
                measure_predictions(name, angle, batches, background)


def prepare():
    """The params of the models, and the demo pack and its split in the working folder."""
    values = resolve_recipe("other_rooms", yaml.safe_load((PROJECT / "params.yaml").read_text()))
    values["download"]["path"] = str(DEMO)
    Path("params.yaml").write_text(yaml.safe_dump(values))
    with contextlib.redirect_stdout(io.StringIO()):
        assert download.main(["--out", "raw", "--run", "download.json"]) == 0
        assert split.main(["--raw", "raw", "--out", "split", "--run", "split.json"]) == 0
    return load_params(Path("params.yaml"))


def measure_floors() -> None:
    """The height of points above the floor, of those within 6 cm of it, over all backgrounds."""
    for name, shift in (("pack's depth", 0.0), (f"pack's depth + {100 * NEAR_PLANE_M:g} cm", NEAR_PLANE_M)):
        heights = []
        for key, camera in read_json(DEMO / "pack.json")["backgrounds"].items():
            depth = np.array(Image.open(DEMO / f"bg_depth/{key}.png")).astype(np.float32) / 1000
            angle = 2 * math.degrees(math.atan(SIDE_PX / 2 / camera["focal_px"]))
            image = np.zeros((*depth.shape, 3), np.uint8)
            options = {"unit": "metre", "depth_max": 20.0, "field_of_view_deg": angle}
            places = make_points(image, np.zeros_like(depth), depth + np.float32(shift), **options).positions
            pitch = camera["camera_pitch_rad"]
            up = places[:, 1] * math.cos(pitch) - places[:, 2] * math.sin(pitch) + camera["camera_height_m"]
            heights.append(up[np.abs(up) < 0.06])
        off = np.abs(np.concatenate(heights)) * 1000
        print(
            f"floor, {name}: off by {np.median(off):.1f} mm (median), {np.percentile(off, 75):.1f} mm (75 %), {len(off):,} points"
        )


def measure_predictions(name: str, angle: float | None, batches: list, background: bool) -> None:
    """Print the errors of one model; angle: of the images, None: the backgrounds' own."""
    model, cameras = depthmask.load_shipped(background, device="cpu"), read_json(DEMO / "pack.json")["backgrounds"]
    scene, figure, undeclared, before, after = [], [], [], [], []
    for batch in batches:
        found = model.predict_batch(list(batch.image), list(batch.background) if background else None)
        for b, prediction in enumerate(found):
            focal = cameras[Path(batch.origins[b].background).name]["focal_px"]
            own = angle or 2 * math.degrees(math.atan(SIDE_PX / 2 / focal))
            true_depth = batch.depth[b] * np.float32(prediction.depth_max)
            inside = batch.read_alpha(b) >= 0.5
            known = batch.valid[b] & (batch.depth[b] < 0.99)
            off = find_errors(prediction, true_depth, own, own)
            scene.append(np.median(off[known & ~inside]))
            figure.append(np.median(off[known & inside]))
            undeclared.append(np.median(find_errors(prediction, true_depth, own, None)[known]))
            counts = count_smeared(prediction, true_depth, inside, own)
            before.append(counts[0]), after.append(counts[1])
    shares = [np.sum(counts, axis=0) for counts in (before, after)]
    smeared = " -> ".join(f"{between / total:.1%}" for total, between in shares)
    kind = "with background" if background else "photo alone"
    print(
        f"{name}, {kind}: scene {np.mean(scene):.2f} m, foreground {np.mean(figure):.2f} m; field of view not declared:"
        f" {np.mean(undeclared):.2f} m; depth in between, along the foreground: {smeared}"
    )


def find_errors(prediction: PhotoPrediction, true_depth: np.ndarray, own: float, declared: float | None) -> np.ndarray:
    """How far each pixel's point is from its true place, in metres, H x W; own: the camera's angle; declared: the one given."""
    camera = choose_camera(declared, prediction.trained_field_of_view_deg, True)
    guess = place(prediction.depth * np.float32(camera.depth_factor), camera.field_of_view_deg)
    return np.linalg.norm(guess - place(true_depth, own), axis=2)


def place(depth: np.ndarray, angle: float) -> np.ndarray:
    """Where each pixel is, H x W x 3."""
    height, width = depth.shape
    focal = find_focal_px(height, width, angle)
    x = (np.arange(width) + 0.5 - width / 2)[None, :] / focal * depth
    y = (np.arange(height) + 0.5 - height / 2)[:, None] / focal * depth
    return np.stack([x, y, depth], axis=2)


def count_smeared(
    prediction: PhotoPrediction, true_depth: np.ndarray, inside: np.ndarray, angle: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(pixels along the outline, of these in between), of all pixels and of those that are kept."""
    ball = np.ones((2 * BAND_PX + 1,) * 2, np.uint8)
    grown, shrunk = (work(inside.astype(np.uint8), ball) > 0 for work in (cv2.dilate, cv2.erode))
    near, far = find_level(prediction.depth, shrunk), find_level(prediction.depth, ~grown)
    true_near, true_far = find_level(true_depth, shrunk), find_level(true_depth, ~grown)
    along = grown & ~shrunk & (true_far > CLEAR * true_near) & (far > 1.15 * near)
    part = (prediction.depth - near) / (far - near)
    between = along & (part > 0.2) & (part < 0.8)
    kept = ~find_depth_edges(prediction.depth, find_focal_px(*inside.shape, angle), 1.0)
    return (along.sum(), between.sum()), ((along & kept).sum(), (between & kept).sum())


def find_level(depth: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The mean depth of the chosen pixels around each pixel; nan where there are none."""
    size = (2 * LEVEL_PX + 1,) * 2
    weight, total = (
        cv2.blur(values.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT) for values in (chosen, chosen * depth)
    )
    return np.where(weight > 1e-4, total / np.maximum(weight, 1e-6), np.nan)


if __name__ == "__main__":
    main()
