"""Makes a clip of the demo pack: somebody walks to and fro in a room, behind its pillars and before them.

    PYTHONPATH=workflow python benchmarks/demo_clip.py clip.mp4 [--seconds 60] [--rate 25] [--size-px 480] [--background room.png]

Needs PyAV (the extra `video`). The background and the cut-out are of the pack's test set: the models that come with depthmask
have not seen them. For the first EMPTY_S seconds nobody is in view; for the last STILL_S somebody stands still. The camera does
not move, but each frame has noise and a brightness of its own, and is compressed as little as a camera does. The truth (alpha
and depth) is known for every frame: `render`.

Shapes: images are uint8 S x S x 3, maps float32 S x S; depth in metres.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_file
from depthmask.base.terminal import track
from depthmask.keyed_random import make_generator
from depthmask.video.clip import import_av

PACK = Path(__file__).resolve().parents[1] / "data/demo"
ROOM, PERSON = "081", "071"
EMPTY_S, STILL_S = 3.0, 10.0
CROSSING_S = 8.0  # once to and fro
NOISE_LEVELS = 4.0  # standard deviation, of each pixel in each frame
LIGHT_SHARE = 0.01  # likewise of the brightness of each frame, as lamps and automatic exposure change it
WIDE, NEAR_M, FAR_M = 1.15, 3.2, 5.2  # how far out of view the walk goes, as a share of half the view; its depths
METRES_PER_MILLIMETRE, RELIEF_ZERO, RELIEF_PER_M = 1e-3, 128, 100.0  # as data/demo/README.md says
SEED, NOISE_PURPOSE = 0, 1


class Rendered(NamedTuple):
    """A frame and its truth."""

    image: np.ndarray
    alpha: np.ndarray
    depth_m: np.ndarray


class Room:
    """The room without anybody, and who walks in it."""

    def __init__(self, size_px: int):
        pack = json.loads((PACK / "pack.json").read_text())
        room, self.person = pack["backgrounds"][ROOM], pack["cutouts"][PERSON]
        image = cv2.imread(str(PACK / f"bg/{ROOM}.jpg"))[..., ::-1]
        self.focal_px = room["focal_px"] * size_px / image.shape[0]
        self.height_m, self.pitch_rad = room["camera_height_m"], room["camera_pitch_rad"]
        self.size_px = size_px
        side = size_px, size_px
        self.image = cv2.resize(np.ascontiguousarray(image), side, interpolation=cv2.INTER_CUBIC)
        depth = cv2.imread(str(PACK / f"bg_depth/{ROOM}.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        self.depth_m = cv2.resize(depth, side, interpolation=cv2.INTER_NEAREST) * np.float32(METRES_PER_MILLIMETRE)
        rgba = cv2.imread(str(PACK / f"fg/{PERSON}.png"), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]].astype(np.float32) / 255
        self.premultiplied = np.dstack([rgba[..., :3] * rgba[..., 3:], rgba[..., 3]])
        relief = cv2.imread(str(PACK / f"fg_depth/{PERSON}.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        self.relief_m = (relief - RELIEF_ZERO) / RELIEF_PER_M

    def render(self, x_m: float, z_m: float, facing_left: bool) -> Rendered:
        """Somebody whose feet are on the floor at z_m from the camera and x_m to the right of its axis."""
        scale = self.focal_px / z_m / self.person["pixels_per_m"]
        t = -(self.height_m / z_m + math.sin(self.pitch_rad)) / math.cos(self.pitch_rad)
        foot = self.size_px / 2 - 0.5 - t * self.focal_px
        height, width = self.relief_m.shape
        centre = self.size_px / 2 + self.focal_px * x_m / z_m
        sign = -1.0 if facing_left else 1.0
        place = np.float32([[sign * scale, 0, centre - sign * scale * (width - 1) / 2], [0, scale, foot - scale * (height - 1)]])
        side = self.size_px, self.size_px
        rgba = cv2.warpAffine(self.premultiplied, place, side, flags=cv2.INTER_LINEAR)
        depth = z_m + cv2.warpAffine(self.relief_m, place, side, flags=cv2.INTER_NEAREST)
        rgba = rgba * (depth < self.depth_m)[..., None]  # a pillar may stand before them
        alpha = rgba[..., 3]
        image = self.image * (1 - alpha[..., None]) + rgba[..., :3] * 255
        return Rendered(np.round(image).astype(np.uint8), alpha, np.where(alpha >= 0.5, depth, self.depth_m))


def render_clip(seconds: float, rate: int, size_px: int) -> Iterator[Rendered]:
    """Every frame with its truth, without noise; rate: frames per second."""
    room = Room(size_px)
    empty = Rendered(room.image, np.zeros_like(room.depth_m), room.depth_m)
    for number in range(count_frames(seconds, rate)):
        time_s = number / rate
        yield empty if time_s < EMPTY_S else room.render(*_walk(min(time_s, seconds - STILL_S) - EMPTY_S, room))


def count_frames(seconds: float, rate: int) -> int:
    return round(seconds * rate)


def add_noise(image: np.ndarray, number: int) -> np.ndarray:
    """Frame `number` as a sensor sees it: a function of the seed and the number alone."""
    rng = make_generator(SEED, NOISE_PURPOSE, 0, number)
    light = 1 + LIGHT_SHARE * rng.standard_normal()
    noise = NOISE_LEVELS * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.round(image * light + noise), 0, 255).astype(np.uint8)


def _walk(time_s: float, room: Room) -> tuple[float, float, bool]:
    """Where somebody is: in from the left, out to the right and back, nearer and farther each time."""
    angle = 2 * math.pi * time_s / CROSSING_S
    z_m = (NEAR_M + FAR_M) / 2 - (FAR_M - NEAR_M) / 2 * math.cos(angle * 0.37)
    reach_m = WIDE * room.size_px / 2 / room.focal_px * z_m
    return -reach_m * math.cos(angle), z_m, math.sin(angle) < 0


def write_clip(path: Path, seconds: float, rate: int, size_px: int) -> None:
    """An MP4 file as a camera makes it: H.264, with noise."""
    av = import_av()
    with replace_file(path) as new, av.open(str(new), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "veryfast"})
        stream.width = stream.height = size_px
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        frames = track(render_clip(seconds, rate, size_px), "rendering", "frames", count_frames(seconds, rate))
        for number, rendered in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(add_noise(rendered.image, number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="MP4 file to write")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=25, help="frames per second")
    parser.add_argument("--size-px", type=int, default=480, help="width and height, even")
    parser.add_argument("--background", type=Path, help="PNG file to write: the room without anybody")
    args = parser.parse_args(argv)
    write_clip(args.clip, args.seconds, args.rate, args.size_px)
    if args.background is not None:
        with replace_file(args.background) as new:
            new.write_bytes(cv2.imencode(".png", Room(args.size_px).image[..., ::-1])[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
