"""DVC's list of readers and writers (`.dvc/tmp/rwlock`): who works on which paths, and a repair.

DVC rewrites the list in place, and cannot start once a kill has truncated it. It names processes by PID alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import psutil

from depthmask.base.terminal import note

TMP = Path(".dvc/tmp")
RETRIES, RETRY_EVERY_S = 20, 0.05  # while a DVC is writing the list


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


def find_blockers(tmp: Path, read: Sequence[str], write: Sequence[str]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Yield each path that a DVC process of this machine works on, and PID and command of those processes; changes nothing.

    read, write: absolute paths; one to be read waits for writers, one to be written also for readers. An entry counts only if
    a process with its PID lives here that may have made it: a PID is given out again, and is another process elsewhere.
    """
    entries = _read_entries(tmp / "rwlock")
    for mode, waiting in (("write", [*read, *write]), ("read", write)):
        for path, infos in entries.get(mode, {}).items():
            if any(_overlaps(path, other) for other in waiting):
                infos = infos if isinstance(infos, list) else [infos]
                blockers = [(info["pid"], info["cmd"]) for info in infos if _has_made(info)]
                if blockers:
                    yield path, blockers


def _read_entries(path: Path) -> dict[str, Any]:
    """The list; empty if there is none, or if it stays truncated."""
    for _ in range(RETRIES):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            break
        except ValueError:
            time.sleep(RETRY_EVERY_S)
    return {}


def _overlaps(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies in the other."""
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def _has_made(info: dict[str, Any]) -> bool:
    """Whether the process that an entry names lives here, as far as its command can tell."""
    try:
        words = psutil.Process(int(info["pid"])).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # another user's
    script, *arguments = str(info["cmd"]).split(" ")
    # the script's path differs with the way it was called, as by python -m dvc
    return " ".join(words).endswith(" ".join(arguments or [PurePath(script).name]))


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
