"""Repairs DVC's list of readers and writers: DVC rewrites it in place, and cannot start once a kill has truncated it."""

from __future__ import annotations

import json
from pathlib import Path

from depthmask.base.terminal import note

TMP = Path(".dvc/tmp")


def remove_cut_off_rwlock(tmp: Path = TMP) -> None:
    """Remove the list if a killed DVC truncated it, and print a note; its content is lost anyway.

    Raises:
        dvc.lock.LockError: a live DVC keeps writing it.
    """
    path = tmp / "rwlock"
    if _is_whole(path):
        return
    from dvc.lock import make_lock  # late: rarely needed, and takes half a second to import

    # DVC's own lock of the file: wait for a current writer before judging it
    with make_lock(str(tmp / "rwlock.lock"), tmp_dir=str(tmp)):
        if not _is_whole(path):
            path.unlink()
            note(f"removed {path}, which a killed DVC left truncated")


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
