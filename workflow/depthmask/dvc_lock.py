"""DVC's list of who reads and writes what; DVC rewrites it in place, and starts no more once a kill has cut it off."""

from __future__ import annotations

import json
from pathlib import Path

from depthmask.base.terminal import note

TMP = Path(".dvc/tmp")


def remove_cut_off_rwlock(tmp: Path = TMP) -> None:
    """Remove the list if a killed DVC has left it cut off, and say so; what it said of others is lost by then in any case.

    Raises:
        dvc.lock.LockError: a live DVC is writing it, and does not end.
    """
    path = tmp / "rwlock"
    if _is_whole(path):
        return
    from dvc.lock import make_lock  # late: it is hardly ever needed, and half a second to import

    # DVC's own guard of the file, so that whoever writes it now has ended before it is judged
    with make_lock(str(tmp / "rwlock.lock"), tmp_dir=str(tmp)):
        if not _is_whole(path):
            path.unlink()
            note(f"removed {path}, which a killed DVC has left cut off")


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
