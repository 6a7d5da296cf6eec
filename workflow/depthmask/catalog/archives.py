"""Recognises archives by their file names: those that are read, parts of one, and kinds that are not read."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from depthmask.base.paths import is_file, is_folder

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# put into archives and folders by macOS, Windows and network disks; never data
JUNK_FOLDERS = ("__macosx", "@eadir", ".appledouble", ".trashes", ".spotlight-v100", ".fseventsd", "$recycle.bin")
JUNK_FILES = (".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
# Google Drive and Takeout: NAME-20240101T000000Z-001.zip, also NAME-20240101T000000Z-1-001.zip; each is a zip of its own
SPLIT_DOWNLOAD = re.compile(r"(?P<stem>.+)-(?P<time>\d{8}T\d{6}Z(?:-\d{1,3})?)-(?P<number>\d{3})", re.ASCII)
COPY = re.compile(r"(.+?) ?\(\d{1,3}\)", re.ASCII)  # what browsers and file managers add to the name of a second copy
SUFFIXES = "|".join(re.escape(suffix) for suffix in (*ARCHIVES, ".7z", ".rar"))
TO_FOLDER = "and set download.path to the folder"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".lz", ".z", ".br")  # of one file
ZIP, TAR, TAR_AT = b"PK\3\4", b"ustar", 257
# a name's pattern, what the file is, and what to do; {name} is the file, {stem} what the pattern calls so
FOREIGN = (
    (r"(?P<stem>.+)\.z\d{2,3}", "is a part of a split zip", f"unpack its last part (7z x {{stem}}.zip), {TO_FOLDER}"),
    (r".+\.part\d+\.rar|.+\.r\d{2}", "is a part of a split rar", f"unpack its first part (7z x), {TO_FOLDER}"),
    (
        rf"(?P<stem>.+(?:{SUFFIXES}))\.(?:\d{{2,4}}|part[-_]?\w{{1,3}}|a[a-z])",
        "is a part of a split archive",
        f"join the parts (cat {{stem}}.* > {{stem}}), unpack that (7z x {{stem}}), {TO_FOLDER}",
    ),
    (
        rf".+(?:{SUFFIXES})\.(?:part|download|partial|filepart|aria2)|.+\.(?:crdownload|opdownload)",
        "is an unfinished download",
        "fetch it again to its end",
    ),
    (
        r".+\.(?:7z|rar|zipx|cab|iso|dmg|arj|lzh|lha|ace|tar\.zst|tzst|tar\.lz|tar\.lz4|tar\.lzma|tar\.z|taz)",
        "is an archive of a kind that is not read",
        f"unpack it (7z x {{name}}), {TO_FOLDER}",
    ),
)


class Download(NamedTuple):
    """What an archive's file name says. stem: without suffixes; time, number: of a part of a split download, else empty."""

    stem: str
    time: str = ""
    number: str = ""


def is_archive(path: Path | str) -> bool:
    """Whether a name has the suffix of an archive that can be unpacked."""
    return str(path).lower().endswith(ARCHIVES)


def cut_suffix(name: str) -> str:
    """The name of an archive without its suffix."""
    suffix = next((s for s in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def cut_copy(stem: str) -> str:
    """A stem without the number of a second copy: `bg (1)` is `bg`."""
    copy = COPY.fullmatch(stem)
    return copy[1] if copy else stem


def read_download(name: str) -> Download:
    """Take apart an archive's name: `bg-20240101T000000Z-002.zip` is part 002 of a download of `bg`."""
    stem = cut_suffix(name)
    split = SPLIT_DOWNLOAD.fullmatch(cut_copy(stem))
    return Download(split["stem"], split["time"], split["number"]) if split else Download(stem)


def is_junk(name: str) -> bool:
    """Whether a path contains what a system, not a person, puts beside data: `__MACOSX/`, `._NAME`, `Thumbs.db`."""
    parts = name.lower().split("/")
    return parts[-1] in JUNK_FILES or parts[-1].startswith("._") or any(part in JUNK_FOLDERS for part in parts)


def explain_foreign(name: str) -> str | None:
    """What an archive that is not read is, judged by its name, and what to do; None for any other name.

    The words follow the file's name.
    """
    last = name.rpartition("/")[2]
    for pattern, what, remedy in FOREIGN:
        found = re.fullmatch(pattern, last, re.IGNORECASE)
        if found:
            return f"{what}; {remedy.format(name=last, **found.groupdict())}"
    return None


def explain_file(path: Path) -> str | None:
    """What a file is that has not the name of an archive, judged by name and content, and what to do; None if it is neither.

    The words follow the file's name.
    """
    foreign = explain_foreign(path.name)
    if foreign is not None:
        return foreign
    suffix = _find_suffix(path)
    if suffix is not None:
        name = re.sub(r"\.(gz|bz2|xz|t?bz|tb2)$", "", path.name, flags=re.IGNORECASE) + suffix
        return f"is an archive, but its name does not say so; rename it to {name}"
    if path.name.lower().endswith(COMPRESSED):
        return f"is one compressed file, not an archive of folders; unpack it (7z x {path.name}), {TO_FOLDER}"
    return None


def _find_suffix(path: Path) -> str | None:
    """The suffix that a file should have by its content; None if it is no archive that is read."""
    import bz2  # late: seldom needed
    import gzip
    import lzma

    openers = {".tar": open, ".tar.gz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}
    for suffix, opener in openers.items():
        with contextlib.suppress(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError), opener(path, "rb") as data:
            start = data.read(TAR_AT + len(TAR))
            if suffix == ".tar" and start.startswith(ZIP):
                return ".zip"
            if start[TAR_AT:] == TAR:
                return suffix
    return None


def find_archives(folder: Path) -> list[Path]:
    """The archives of a local folder, sorted: those in it, and those alone in a subfolder of the same name (bg/bg.zip)."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_junk(entry.name):
                continue
            if is_archive(entry.name) and is_file(entry):
                found.append(Path(entry.path))
            elif is_folder(entry):
                found += _find_archives_alone(entry)
    return sorted(found)


def _find_archives_alone(folder: os.DirEntry) -> list[Path]:
    found = []
    try:
        with os.scandir(folder.path) as entries:
            for entry in entries:
                if is_junk(entry.name):
                    continue
                if not (is_archive(entry.name) and cut_copy(read_download(entry.name).stem) == folder.name and is_file(entry)):
                    return []  # a folder of pictures is left at its first
                found.append(Path(entry.path))
    except OSError:  # an unreadable folder: its reader reports it
        return []
    return found
