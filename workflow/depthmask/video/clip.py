"""Reads clips with PyAV, frame by frame: upright, in sRGB, with their own times.

PyAV is chosen over OpenCV's VideoCapture, which neither writes timestamps nor 16-bit or transparent video; over a pipe to the
ffmpeg program, which must be installed and hands out frames without their times; and over torchcodec, which needs the
system's FFmpeg libraries. Its wheels contain FFmpeg.

Shapes: images are uint8 H x W x 3 sRGB.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from depthmask.base.errors import UserError, format_install_command
from depthmask.base.paths import find_fault_of_file, show_path
from depthmask.data.arrays import MAX_PIXELS
from depthmask.video.names import describe_place, show_time
from depthmask.video.orientation import read_turn, turn

INSTALL = format_install_command("video")
# containers that hold their streams themselves: a playlist in a file named .mp4 could name addresses or any file of this machine
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,mxf,nut"
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
HD_WIDTH_PX, HD_HEIGHT_PX = 1280, 577  # from here on players take untagged video for BT.709, below for BT.601
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # of ITU-T H.273
ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: the cover of a song
MISSING_SHARE, MISSING_MIN_S = 0.02, 0.5  # a stream that ends this much before its header says was cut off
DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # how Matroska gives a stream's duration


def import_av() -> ModuleType:
    """PyAV, which is loaded with the first clip.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({' '.join(str(error).split())[:120]})"
        raise UserError(f"clips need the package av{reason}; install with: {INSTALL}") from error


@dataclass(frozen=True)
class Frame:
    """A decoded frame. number: from 0. pts: its time in the clip's `time_base`. duration: likewise, 0 if unknown."""

    number: int
    pts: int
    time_s: float
    duration: int
    _decoded: Any
    _turn: tuple[bool, bool, bool]

    def read(self) -> np.ndarray:
        """Its pixels, upright; only now converted to RGB."""
        decoded = self._decoded
        untagged = int(decoded.colorspace) == UNSPECIFIED
        is_hd = decoded.width >= HD_WIDTH_PX or decoded.height >= HD_HEIGHT_PX
        image = decoded.to_ndarray(format="rgb24", src_colorspace="ITU709" if untagged and is_hd else None)
        return np.ascontiguousarray(turn(image, self._turn))


@dataclass
class Faults:
    """What was wrong with the frames that were read. left_out: damaged ones, by number; moved: times that did not rise."""

    left_out: int = 0
    first_left_out_s: float | None = None
    moved: int = 0


@dataclass
class Clip:
    """A clip's first video stream.

    size_px: width and height, upright. frames_expected: by its header, None if unknown. turned: whether frames are stored
    lying on their side, upside down or mirrored. shift: ticks added to all times, because MP4 has none below 0.

    Raises:
        UserError: PyAV is not installed, or the file is missing, no clip, damaged, without video, or too large.
    """

    path: Path
    size_px: tuple[int, int] = (0, 0)
    time_base: Fraction = Fraction(1, 1000)
    frames_expected: int | None = None
    duration_s: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    transfer: str | None = None
    turned: bool = False
    shift: int = 0
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self):
        frames = self.read_frames(skip_damaged=True)
        with contextlib.closing(frames):
            first = next(frames, None)
        if first is None:
            raise UserError(f"{show_path(self.path)}: has no frames that can be decoded; replace or remove it")
        self.turned = first._turn != (False, False, False)
        self.transfer = HDR_TRANSFERS.get(int(first._decoded.color_trc))
        self.faults = Faults()

    def read_frames(self, skip_damaged: bool = False) -> Iterator[Frame]:
        """Yield all frames in order; times rise: one that does not is moved to one tick after the frame before it.

        Raises:
            UserError: a frame is damaged, and not `skip_damaged`; frames change their size; or the clip is cut off.
        """
        self.faults = Faults()
        av = import_av()
        with self._open(av) as container:
            stream = self._find_stream(container)
            stream.thread_type = "AUTO"
            last = None
            for number, decoded in enumerate(self._decode(av, container, stream, skip_damaged)):
                size = self._orient(decoded)
                if number == 0:
                    self.size_px = size[0]
                    if size[1][0]:  # rows and columns change places
                        self.pixel_aspect = 1 / self.pixel_aspect
                elif size[0] != self.size_px:
                    was, now = (" x ".join(map(str, sides)) for sides in (self.size_px, size[0]))
                    place = describe_place(self.path, number, last.time_s)
                    raise UserError(f"{place}: frames change from {was} to {now} px; cut the clip there")
                pts = self._find_time(decoded, last)
                last = Frame(number, pts, float(pts * self.time_base), decoded.duration or 0, decoded, size[1])
                yield last
            self._require_whole(stream, last, skip_damaged)

    @contextlib.contextmanager
    def _open(self, av: ModuleType) -> Iterator[Any]:
        fault = find_fault_of_file(self.path)
        if fault is not None:
            raise UserError(f"{show_path(self.path)}: {fault}")
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        try:
            container = av.open(f"file:{self.path}", options=options, metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, PermissionError):
                raise UserError(f"{show_path(self.path)}: permission denied") from error
            raise UserError(
                f"{show_path(self.path)}: damaged, cut off, or no clip in a format that is read ({describe(error)}); replace it"
            ) from error
        with container:
            yield container

    def _find_stream(self, container: Any) -> Any:
        streams = [stream for stream in container.streams.video if not int(stream.disposition) & ATTACHED_PICTURE]
        if not streams:
            what = "only sound" if container.streams.audio else "nothing that can be shown"
            raise UserError(f"{show_path(self.path)}: has no video stream, {what}; choose another file")
        stream = streams[0]
        if stream.codec_context is None:
            raise UserError(f"{show_path(self.path)}: its video codec is not known to PyAV; convert it to H.264")
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            sides = f"{stream.codec_context.width} x {stream.codec_context.height}"
            raise UserError(f"{show_path(self.path)}: {sides} is more than {MAX_PIXELS:,} pixels; shrink it")
        self.time_base = stream.time_base or Fraction(1, 1000)
        self.duration_s = find_duration_s(stream, container)
        rate = stream.average_rate or stream.guessed_rate
        guessed = round(self.duration_s * rate) if self.duration_s and rate else None
        self.frames_expected = stream.frames or guessed
        self.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        return stream

    def _decode(self, av: ModuleType, container: Any, stream: Any, skip_damaged: bool) -> Iterator[Any]:
        """Yield whole frames. Until the first one, what cannot be decoded is passed over: a recording may begin midway."""
        number, seconds, fault = 0, 0.0, None
        packets = container.demux(stream)
        while True:
            frames: list[Any] = []
            try:
                packet = next(packets)
                fault = "a part of the file is missing" if packet.is_corrupt else None
                frames = packet.decode()
            except (StopIteration, av.error.EOFError):
                return
            except (av.error.FFmpegError, OSError) as error:
                fault = describe(error)
                if not isinstance(error, ValueError):  # anything but invalid data: the file itself cannot be read any more
                    place = describe_place(self.path, number, seconds)
                    raise UserError(f"{place}: cannot be read ({fault}); check the disk") from error
            if fault and number:
                self._report_damage(number, seconds, fault, skip_damaged)
            for frame in frames:
                if frame.is_corrupt:
                    self._report_damage(number, seconds, "decoded with errors", skip_damaged)
                    continue
                yield frame
                number, seconds = number + 1, frame.time if frame.time is not None else seconds

    def _report_damage(self, number: int, seconds: float, fault: str, skip_damaged: bool) -> None:
        if not skip_damaged:
            place = describe_place(self.path, number, seconds)
            raise UserError(f"{place}: damaged there ({fault}); repair the clip, or leave such frames out with --skip-damaged")
        self.faults.left_out += 1
        if self.faults.first_left_out_s is None:
            self.faults.first_left_out_s = seconds

    def _orient(self, decoded: Any) -> tuple[tuple[int, int], tuple[bool, bool, bool]]:
        how = read_turn(decoded)
        sides = decoded.width, decoded.height
        return (sides[::-1] if how[0] else sides), how

    def _find_time(self, decoded: Any, last: Frame | None) -> int:
        pts = decoded.pts if decoded.pts is not None else decoded.dts
        if pts is None:
            pts = 0 if last is None else last.pts + max(1, last.duration) - self.shift
        if last is None:
            self.shift = max(0, -pts)
        pts += self.shift
        if last is not None and pts <= last.pts:
            self.faults.moved += 1
            pts = last.pts + 1
        return pts

    def _require_whole(self, stream: Any, last: Frame | None, skip_damaged: bool) -> None:
        """A file that was cut off ends without an error in many formats."""
        declared = find_duration_s(stream, None)
        if last is None or declared is None or skip_damaged:
            return
        # FFmpeg writes into Matroska's tag when a stream ends, also if it starts late
        start = float((stream.start_time or 0) * self.time_base) if stream.duration else 0.0
        ends = last.time_s + float((last.duration - self.shift) * self.time_base) - start
        if declared - ends > max(MISSING_MIN_S, MISSING_SHARE * declared):
            raise UserError(
                f"{show_path(self.path)}: ends at {show_time(ends)}, but should last {show_time(declared)}: it was cut off;"
                " replace it, or predict what is there with --skip-damaged"
            )


def find_duration_s(stream: Any, container: Any | None) -> float | None:
    """How long a stream lasts by its header; else, if a container is given, how long that does."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = DURATION_TAG.match(stream.metadata.get("DURATION", ""))
    if tag is not None:
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    return container.duration / 1e6 if container is not None and container.duration else None


def describe(error: Exception) -> str:
    """What FFmpeg says, without its number and the file's name."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())[:120].lower()
