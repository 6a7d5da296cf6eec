"""Recognises archives by their file names."""

from __future__ import annotations

from pathlib import Path

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_archive(path: Path | str) -> bool:
    """Whether a name has the suffix of an archive that can be unpacked."""
    return str(path).lower().endswith(ARCHIVES)


def cut_suffix(name: str) -> str:
    """The name of an archive without its suffix."""
    suffix = next((s for s in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]
