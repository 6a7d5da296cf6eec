"""Encodes what is written of a clip: each kind is a video of its own.

Frames of all kinds but the side-by-side video are coded one by one; that one has no frames coded out of order. So parts of a
video can be joined without coding them again.

The bytes do not depend on the number of threads: FFV1 and ProRes code slices of a fixed number, H.264 has one thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from depthmask.serving.pictures import DEPTH_RAW_MAX
from depthmask.video.clip import import_av
from depthmask.video.painting import Painter
from depthmask.video.predicting import PredictedFrame

BT709, FULL_RANGE, LIMITED_RANGE, SRGB_TRANSFER = 1, 2, 1, 13
TIMESCALE_MAX = 2**31 - 1
FFV1 = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}


@dataclass(frozen=True)
class Kind:
    """A video that is written. ending: after the clip's name. stored: pixel format in the file; given: of the arrays."""

    ending: str
    codec: str
    stored: str
    given: str
    options: dict[str, str] = field(default_factory=dict)
    threads: int = 0  # 0: as many as there are


MASK, DEPTH, SIDE_BY_SIDE, CUTOUT = "mask", "depth", "side_by_side", "cutout"
PRORES, EXACT = "prores", "ffv1"  # of the cut-out
KINDS = {
    MASK: Kind("_mask.mp4", "ffv1", "gray", "gray", FFV1),
    DEPTH: Kind("_depth.mp4", "ffv1", "gray16le", "gray16le", FFV1),
    SIDE_BY_SIDE: Kind(
        "_side_by_side.mp4", "libx264", "yuv420p", "rgb24", {"crf": "18", "preset": "veryfast", "bf": "0"}, threads=1
    ),
}
CUTOUTS = {
    PRORES: Kind("_cutout.mov", "prores_ks", "yuva444p10le", "rgba", {"profile": "4444"}),
    EXACT: Kind("_cutout.mp4", "ffv1", "bgra", "rgba", FFV1),
}


def choose_kinds(names: tuple[str, ...], cutout: str) -> dict[str, Kind]:
    """The kinds to write, by name; cutout: PRORES or EXACT."""
    known = KINDS | {CUTOUT: CUTOUTS[cutout]}
    return {name: known[name] for name in known if name in names}


def make_pixels(name: str, frame: PredictedFrame, hard: bool, painter: Painter) -> np.ndarray:
    """The pixels of one kind, as the photos' files have them."""
    if name == DEPTH:
        prediction = frame.prediction
        return np.round(prediction.depth / np.float32(prediction.depth_max) * DEPTH_RAW_MAX).astype(np.uint16)
    if name == SIDE_BY_SIDE:
        return painter.paint(frame.image, frame.prediction)  # of even size, as H.264 needs it
    mask = frame.prediction.mask
    alpha = np.where(mask >= 0.5, 255, 0).astype(np.uint8) if hard else np.round(mask * 255).astype(np.uint8)
    return alpha if name == MASK else np.dstack([frame.image, alpha])


class PartWriter:
    """Writes frames of each kind to files of their own. count: frames so far."""

    def __init__(self, files: dict[str, Path], kinds: dict[str, Kind], time_base: Fraction, pixel_aspect: Fraction, hard: bool):
        self._av = import_av()
        self._files, self._kinds, self._time_base, self._aspect, self._hard = files, kinds, time_base, pixel_aspect, hard
        self._outputs: dict[str, tuple[Any, Any]] = {}
        self._stack = ExitStack()
        self.count = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                for container, stream in self._outputs.values():
                    container.mux(stream.encode(None))

    def write(self, frame: PredictedFrame, painter: Painter) -> None:
        """Write a frame.

        Raises:
            OSError: the disk is full, or fails.
        """
        for name, kind in self._kinds.items():
            pixels = make_pixels(name, frame, self._hard, painter)
            if name not in self._outputs:
                self._outputs[name] = self._open(name, pixels.shape[1], pixels.shape[0])
            container, stream = self._outputs[name]
            video = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind.given)
            if kind.stored != kind.given:
                video = video.reformat(format=kind.stored, **({} if kind.stored == "bgra" else {"dst_colorspace": "ITU709"}))
            video.pts, video.time_base = frame.pts, self._time_base
            container.mux(stream.encode(video))
        self.count += 1

    def _open(self, name: str, width: int, height: int) -> tuple[Any, Any]:
        kind = self._kinds[name]
        container = self._stack.enter_context(open_output(self._files[name], kind.ending, self._time_base))
        stream = container.add_stream(kind.codec, options=dict(kind.options))
        stream.width, stream.height, stream.pix_fmt = width, height, kind.stored
        context = stream.codec_context
        stream.time_base = context.time_base = self._time_base
        context.thread_count = kind.threads
        context.sample_aspect_ratio = self._aspect
        if kind.stored.startswith("yuv"):
            context.colorspace = context.color_primaries = BT709
            context.color_trc, context.color_range = SRGB_TRANSFER, LIMITED_RANGE
        elif kind.stored.startswith("gray"):
            context.color_range = FULL_RANGE
        return container, stream


@contextmanager
def open_output(path: Path, ending: str, time_base: Fraction, metadata: dict[str, Any] | None = None) -> Iterator[Any]:
    """Open a file to write packets to, in the container of a name's ending.

    metadata: stored as JSON under the name `depthmask`, and as the comment, which more programs show.

    Raises:
        OSError: the disk is full, or fails.
    """
    av = import_av()
    # the time of the first frame is rounded to the timescale of the movie, which else is a millisecond
    scale = {"movie_timescale": str(min(time_base.denominator, TIMESCALE_MAX))}
    options = {"movflags": "use_metadata_tags", "fflags": "+bitexact"} | scale
    try:
        # through a file of our own: what it raises is passed on, where FFmpeg may only note it
        with path.open("wb") as file, av.open(file, "w", format=ending[-3:], options=options) as output:
            if metadata is not None:
                output.metadata.update(dict.fromkeys(("depthmask", "comment"), json.dumps(metadata)))
            yield output
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
