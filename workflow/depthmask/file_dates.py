"""Keeps the dates of files from overruling DVC under Snakemake, where clocks disagree or were set.

DVC compares contents, Snakemake also dates: it runs a stale stage only if its note is newer than its outputs, and fails a job
with an input that is newer than the outputs just made. All dates are compared with one that the disk of the working folder
gives to a file written now, so that a server's clock may differ from this machine's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import note

DATE_OF_FOLDER = ".snakemake_timestamp"  # Snakemake's, in a folder that a rule makes
COARSEST_S = 2.0  # FAT's dates; a date earlier by this much is earlier on every disk


def read_disk_clock(path: Path, *, write: bool) -> float:
    """The time on the clock of the disk, in seconds since 1970: the date of `path`, which is written now if `write`."""
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("The disk's time when Snakemake was started.\n", encoding="utf-8")
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def is_dated_after(path: str, now: float) -> bool:
    """Whether Snakemake takes a file or folder for newer than `now`; not if it is missing."""
    date = _read_date(path)
    return date is not None and date > now


def date_back(paths: Iterable[str], now: float) -> None:
    """Give an earlier date to every output that is not older than `now`; contents are not touched.

    Raises:
        UserError: the date of one cannot be changed.
    """
    future = []
    for path in paths:
        date = _read_date(path)
        if date is None or date < now:
            continue
        try:
            os.utime(_find_dated(path), (now - COARSEST_S, now - COARSEST_S), follow_symlinks=False)
        except OSError as error:
            raise UserError(
                f"{show_path(path)}: is dated in the future ({_show(date)}) and cannot be given another date"
                f" ({(error.strerror or str(error)).lower()}); touch it, or remove it"
            ) from error
        if date > now + COARSEST_S:
            future.append((path, date))
    if future:
        path, date = future[0]
        more = f" (and {len(future) - 1} more)" if len(future) > 1 else ""
        was = f"{show_path(path)}{more} was dated in the future ({_show(date)})"
        note(f"{was}; set to today, since Snakemake compares dates; contents are unchanged")


def _read_date(path: str) -> float | None:
    """The date that Snakemake reads: of a link its own, of a folder that of the file with its date, if there is one."""
    try:
        return os.lstat(_find_dated(path)).st_mtime
    except (OSError, ValueError):
        return None


def _find_dated(path: str) -> str:
    inside = os.path.join(path, DATE_OF_FOLDER)  # noqa: PTH118 (paths come here as texts)
    return inside if not os.path.islink(path) and os.path.lexists(inside) else path  # noqa: PTH114


def _show(date: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(date))
    except (OverflowError, ValueError, OSError):
        return f"{date:.0f} s after 1970"
