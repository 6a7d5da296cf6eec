"""Joins the parts of a video into one file, without coding them again; the sound of the clip is copied beside one of them."""

from __future__ import annotations

import contextlib
import csv
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from depthmask.video.clip import CONTAINERS, Clip, import_av
from depthmask.video.parts import COLUMNS, Parts
from depthmask.video.writing import Kind, open_output

SOUND_CODECS = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # that fit into MP4
NO_SOUND = "none"


@dataclass(frozen=True)
class Sound:
    """A clip's first sound. verdict: what happens to it.

    path: of the clip, None if it cannot be copied. shift_s: added to its times, as to the frames'.
    """

    verdict: str
    path: Path | None = None
    shift_s: float = 0.0


def find_sound(clip: Clip) -> Sound:
    """Whether the clip's sound can be copied into an MP4 file as it is."""
    av = import_av()
    with av.open(f"file:{clip.path}", options={"format_whitelist": CONTAINERS}, metadata_errors="replace") as container:
        if not container.streams.audio:
            return Sound(NO_SOUND)
        context = container.streams.audio[0].codec_context
        codec = "unknown" if context is None else context.codec.canonical_name
        if codec not in SOUND_CODECS:
            return Sound(f"left out: {codec} does not fit into MP4")
    return Sound("copied to side_by_side", clip.path, float(clip.shift * clip.time_base))


def join_parts(
    parts: Parts, name: str, kind: Kind, out: Path, time_base: Fraction, metadata: dict[str, Any], sound: Sound
) -> None:
    """Write one kind of video, whose frames have the times in `parts`; sound: written beside them if it can be.

    Raises:
        OSError: the disk is full, or fails.
        RuntimeError: a part has more or fewer frames than times.
    """
    av = import_av()
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(open_output(out, kind.ending, time_base, metadata))
        with av.open(f"file:{find_file(parts.list()[0], name, kind)}") as first:
            template = first.streams.video[0]
            stream = output.add_stream_from_template(template)
            stream.sample_aspect_ratio = template.sample_aspect_ratio  # which the template's codec context lacks
        stream.time_base = time_base
        packets = ((float(packet.pts * time_base), packet) for packet in _read_packets(av, parts, name, kind, stream, time_base))
        if sound.path is not None:
            source = stack.enter_context(av.open(f"file:{sound.path}", options={"format_whitelist": CONTAINERS}))
            packets = heapq.merge(packets, _read_sound(av, source, output, sound.shift_s), key=lambda pair: pair[0])
        for _, packet in packets:
            output.mux(packet)


def find_file(part: Path, name: str, kind: Kind) -> Path:
    """The video of one kind in a part."""
    return part / (name + kind.ending[-4:])


def write_times(path: Path, parts: Parts, time_base: Fraction) -> tuple[int, float, float]:
    """Write the table of frames; returns their number, and the times of the first and the last in seconds."""
    number, first, last = 0, 0.0, 0.0
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in parts.read_times():
            last = float(row["pts"] * time_base)
            first, number = last if number == 0 else first, number + 1
            writer.writerow(row | {"time_s": f"{last:.6f}"})
    return number, first, last


def _read_packets(av: Any, parts: Parts, name: str, kind: Kind, stream: Any, time_base: Fraction) -> Iterator[Any]:
    times = parts.read_times()
    for part in parts.list():
        with av.open(f"file:{find_file(part, name, kind)}") as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size == 0:  # the end of the file
                    continue
                row = next(times, None)
                if row is None:
                    raise RuntimeError(f"{part}: {name} has more frames than times")
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = row["pts"]
                packet.duration = row["duration"]
                yield packet
    if next(times, None) is not None:
        raise RuntimeError(f"{parts.folder}: {name} has fewer frames than times")


def _read_sound(av: Any, source: Any, output: Any, shift_s: float) -> Iterable[tuple[float, Any]]:
    """Packets of the clip's first sound, as far as they can be read."""
    stream = output.add_stream_from_template(source.streams.audio[0])

    def read() -> Iterator[tuple[float, Any]]:
        with contextlib.suppress(av.error.FFmpegError):
            for packet in source.demux(source.streams.audio[0]):
                if not packet.size or packet.dts is None or packet.pts is None:
                    continue
                shift = round(shift_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                seconds = float(packet.dts * packet.time_base)
                packet.stream = stream
                yield seconds, packet

    return read()
