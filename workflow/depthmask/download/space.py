"""Checks free disk space before the first byte is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from depthmask.base.errors import UserError


def require_space(where: Path, num_bytes: int) -> None:
    """Raise UserError unless `num_bytes` are free on the disk of `where`, which need not exist yet."""
    existing = next(parent for parent in (where, *where.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes > free:
        raise UserError(f"{existing}: {num_bytes / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; free some space")
