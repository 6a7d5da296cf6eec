"""Short clips for tests, written by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = Fraction(1, 30000)


def write_clip(
    path: Path,
    images: Sequence[np.ndarray],
    pts: Sequence[int] | None = None,
    *,
    time_base: Fraction = TICKS,
    turn: tuple | None = None,
    matrix: str | None = None,
    sound_s: float = 0.0,
    sound_codec: str = "aac",
    key_every: int = 12,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """A clip of uint8 H x W x 3 images at these times; by default 25 a second. Coded almost without loss.

    turn: (degrees, mirrored, upside down) of the display matrix. matrix: ITU709 or ITU601, converted with it; only the first is
    declared. sound_s: seconds of a tone.
    """
    pts = [number * round(time_base.denominator / 25) for number in range(len(images))] if pts is None else pts
    exact = {"movie_timescale": str(time_base.denominator)} if path.suffix == ".mp4" else {}  # of the first frame's time
    with av.open(str(path), "w", options=exact) as output:
        options = {"qp": "1", "preset": "ultrafast", "g": str(key_every)}
        stream = output.add_stream("libx264", options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = "yuv444p", time_base, time_base
        stream.codec_context.thread_count = 1
        if matrix == "ITU709":
            stream.codec_context.colorspace = 1
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if turn is not None:
            stream.set_display_rotation(*turn)
        sound = output.add_stream(sound_codec, rate=48000) if sound_s else None
        for image, time in zip(images, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv444p", dst_colorspace=matrix or "ITU601")
            frame.pts, frame.time_base = time, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _write_sound(output, sound, sound_s)
    return path


def _write_sound(output: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    for start in range(0, round(seconds * 48000), 1024):
        tone = np.sin(np.arange(start, start + 1024) * 2 * np.pi * 440 / 48000).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]) * 0.2, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def read_clip(path: Path, pixel_format: str | None = None) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times in seconds, and pixels, of every frame, as PyAV reads them."""
    with av.open(str(path)) as container:
        times, images = [], []
        for frame in container.decode(video=0):
            times.append(frame.pts * frame.time_base)
            images.append(frame.to_ndarray(format=pixel_format or frame.format.name))
    return times, images


def draw_walk(count: int, size: tuple[int, int] = (64, 48), noise: float = 0.0) -> tuple[list[np.ndarray], np.ndarray]:
    """A red square that crosses a patterned room from left to right, and the room; size: width and height."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    room = np.stack([40 + rows, 90 + columns, 120 + 40 * ((rows // 8 + columns // 8) % 2)], axis=2).astype(np.uint8)
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        image = room.copy()
        left = round(number / max(1, count - 1) * (width - 12))
        image[16:32, left : left + 12] = (230, 20, 30)
        noisy = image + rng.normal(0, noise, image.shape) if noise else image
        images.append(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
    return images, room
