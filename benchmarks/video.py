"""How fast clips are predicted, in how much memory, and how steady and true the results are, without and with --smooth.

    PYTHONPATH=workflow:benchmarks python benchmarks/video.py [--seconds 60] [--rate 25] [--size-px 480] [--smooth 0 0.5]

Needs PyAV (the extra `video`). Makes the clip of `demo_clip.py`, whose truth is known, predicts it with `depthmask predict
--background`, with the model that comes with depthmask, and reads the videos of masks and depth that this wrote:

- `frames/s` and `CPU ms`: of the whole command, per frame; `peak MB`: the most memory that the process held.
- `flicker`: how much a pixel changes from a frame to the next where the truth does not: of the mask, in thousandths of its
  range; of depth, in percent. `still`: while nobody moves; `moving`: around somebody who walks.
- `mask IoU`: with the truth, mean over the frames with somebody in view. A smoothing that is late would lower it.
- `trail`: the mask where somebody was TRAIL_S ago and is not now; `late`: what it lacks where they were not and are.

--no-truth leaves out what needs the truth, for long clips.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from demo_clip import EMPTY_S, STILL_S, Room, count_frames, render_clip, write_clip

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.video.clip import import_av

TRAIL_S = 0.2
SAME_ALPHA, INSIDE, OUTSIDE = 0.02, 0.98, 0.02
SETTLING_S = 1.0  # of the still end, that does not count
SPEED = ("frames/s", "CPU ms", "peak MB")
TRUTH = ("flicker mask still", "flicker mask moving", "flicker depth still", "flicker depth moving", "mask IoU", "trail", "late")


def predict(clip: Path, room: Path, out: Path, smooth_s: float, options: list[str]) -> dict[str, float]:
    """Run the command on a clip; returns frames/s, CPU milliseconds per frame and MB of memory."""
    command = [sys.executable, "-m", "depthmask", "predict", str(clip), "--background", str(room), "--out", str(out), *options]
    command += ["--smooth", str(smooth_s)] if smooth_s else []
    since = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"{' '.join(command)}: failed")
    frames = read_json(out / "predictions.json")["clips"][0]["frames"]
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return {
        "frames/s": frames / (time.monotonic() - since),
        "CPU ms": 1000 * (usage.ru_utime + usage.ru_stime) / frames,
        "peak MB": kilobytes * 1024 / 1e6,
    }


def read_maps(out: Path, depth_max: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mask (0..1) and depth in metres of each frame, from the videos."""
    av = import_av()
    with av.open(str(out / "clip_mask.mp4")) as masks, av.open(str(out / "clip_depth.mp4")) as depths:
        for mask, depth in zip(masks.decode(video=0), depths.decode(video=0), strict=True):
            yield mask.to_ndarray().astype(np.float32) / 255, depth.to_ndarray().astype(np.float32) / 65535 * depth_max


def compare_with_truth(out: Path, seconds: float, rate: int, size_px: int) -> dict[str, float]:
    """The figures of TRUTH."""
    depth_max = read_json(out / "predictions.json")["depth"]["max"]
    sums: dict[str, list[float]] = defaultdict(list)
    past: list[tuple] = []
    trail_frames = max(1, round(TRAIL_S * rate))
    for number, (truth, (mask, depth)) in enumerate(
        zip(render_clip(seconds, rate, size_px), read_maps(out, depth_max), strict=True)
    ):
        time_s = number / rate
        phase = "moving" if EMPTY_S <= time_s < seconds - STILL_S else "still"
        is_settled = phase == "moving" or not seconds - STILL_S <= time_s < seconds - STILL_S + SETTLING_S
        if past and is_settled:
            before = past[-1]
            same = (np.abs(truth.alpha - before[0].alpha) < SAME_ALPHA) & (truth.depth_m == before[0].depth_m)
            sums[f"flicker mask {phase}"].append(1000 * np.abs(mask - before[1])[same].mean())
            change = np.abs(np.log(np.maximum(depth, 1e-2) / np.maximum(before[2], 1e-2)))
            sums[f"flicker depth {phase}"].append(100 * change[same].mean())
        subject = truth.alpha >= 0.5
        if subject.mean() > 0.005:
            sums["mask IoU"].append(float((subject & (mask >= 0.5)).sum() / (subject | (mask >= 0.5)).sum()))
        if len(past) == trail_frames:
            there, then = truth.alpha, past[0][0].alpha
            for name, place, values in (
                ("trail", (there < OUTSIDE) & (then > INSIDE), mask),
                ("late", (there > INSIDE) & (then < OUTSIDE), 1 - mask),
            ):
                sums[name] += [float(values[place].mean())] if place.sum() > 50 else []
        past = [*past, (truth, mask, depth)][-trail_frames:]
    return {name: float(np.mean(sums[name])) if sums[name] else float("nan") for name in TRUTH}


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=25, help="frames per second")
    parser.add_argument("--size-px", type=int, default=480)
    parser.add_argument("--network-px", help="--size-px of the prediction")
    parser.add_argument("--smooth", type=float, nargs="+", default=[0.0, 0.5], help="time constants; 0: not smoothed")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--write", default="mask,depth,side_by_side,cutout")
    parser.add_argument("--no-truth", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the clip and the results stay; a clip that is there is not made again")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        clip, room = folder / "clip.mp4", folder / "room.png"
        if not clip.exists():
            write_clip(clip, args.seconds, args.rate, args.size_px)
        room.write_bytes(cv2.imencode(".png", Room(args.size_px).image[..., ::-1])[1].tobytes())
        columns = SPEED if args.no_truth else SPEED + TRUTH
        print(
            f"{count_frames(args.seconds, args.rate)} frames of {args.size_px} px; --threads {args.threads}, --write {args.write}"
        )
        print("smooth, s | " + " | ".join(columns))
        for smooth_s in args.smooth:
            out = folder / f"out_{smooth_s:g}"
            options = ["--threads", args.threads, "--write", args.write]
            options += ["--size-px", args.network_px] if args.network_px else []
            row = predict(clip, room, out, smooth_s, options)
            row |= {} if args.no_truth else compare_with_truth(out, args.seconds, args.rate, args.size_px)
            print(f"{smooth_s:g} | " + " | ".join(f"{row[name]:.3g}" for name in columns), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
