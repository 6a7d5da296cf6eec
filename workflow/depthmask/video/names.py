"""Which files are clips, and spans of time in them; importable without PyAV or torch."""

from __future__ import annotations

import re
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".3gp", ".3g2", ".flv", ".wmv",
    ".ogv", ".mxf", ".nut",
)  # fmt: skip
MEDIAN = "median"  # --background median
TIME = r"(?:(?:(\d{1,3}):)?(\d{1,2}):)?(\d{1,6}(?:\.\d{1,6})?)"
SPAN = re.compile(rf"{TIME}-{TIME}")


def is_clip(path: Path) -> bool:
    """Whether a file is taken for a clip, by its name."""
    return path.suffix.lower() in SUFFIXES


def parse_span(text: str) -> tuple[float, float]:
    """`0:03-0:05`, `3-5.5` or `1:02:03-1:02:10`: start and end in seconds.

    Raises:
        UserError: it is no span, or does not end after it begins.
    """
    found = SPAN.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text[:40]!r} is no span of time; write START-END, such as 0:03-0:05 or 3-5.5 (seconds)")
    start, end = (_count_seconds(*found.groups()[first : first + 3]) for first in (0, 3))
    if end <= start:
        raise UserError(f"{text[:40]!r}: ends before it begins, or at once; write START-END")
    return start, end


def _count_seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def show_time(seconds: float) -> str:
    """`0:03.20`, `1:02:03.00`."""
    hundredths = round(max(0.0, seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else str(minutes)) + f":{rest / 100:05.2f}"


def show_span(span: tuple[float, float]) -> str:
    """`0:03.00-0:05.00`."""
    return "-".join(map(show_time, span))


def describe_place(path: Path, number: int, seconds: float) -> str:
    """`clip.mp4: frame 97 (0:03.20)`; frames are counted from 0."""
    return f"{show_path(path)}: frame {number:,} ({show_time(seconds)})"
