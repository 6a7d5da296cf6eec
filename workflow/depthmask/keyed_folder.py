"""Work that survives a kill: in a folder outside every declared output, which both tools leave alone.

The folder's name holds a hash of all that decides the result, so that a run can only ever find its own work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from depthmask.errors import UserError
from depthmask.files import hash_file, hash_json


def find_folder(stage: str, decides: dict[str, Any], inputs: Iterable[Path], root: Path) -> Path:
    """The folder in `root` of one run of a stage: keyed by params and versions, the content of its inputs, and the code."""
    code = Path(__file__).parents[1]
    files = sorted(f for f in code.rglob("*") if f.suffix in (".py",) and "__pycache__" not in f.parts)
    key = hash_json(
        {
            "decides": decides,
            "inputs": [hash_file(path) for path in inputs],
            "code": {f.relative_to(code).as_posix(): hash_file(f) for f in files},
        }
    )
    return root / f"{stage}-{key[:12]}"


@contextlib.contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[Path]:
    """Own the folder while working; it is removed if the block ends well and stays if not. what: names the work in the error.

    Raises:
        UserError: another process is at the same work at this moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{folder}: the same {what} is still running; wait for it to end, or stop that process") from error
        done = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(done, ignore_errors=True)
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if empty: nothing was saved yet
            raise
        os.replace(folder, done)  # first: a kill while it is being removed must leave nothing that looks like work
        shutil.rmtree(done, ignore_errors=True)
        Path(lock.name).unlink(missing_ok=True)


def remove_others(folder: Path) -> None:
    """What other runs of the same stage have left, with params that are no longer in force; not what one still holds."""
    stage = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{stage}-*"):
        if other.is_dir() and other != folder:
            with contextlib.suppress(UserError), hold_folder(other, "work"):
                pass
    for done in folder.parent.glob(f".{stage}-*.part"):
        shutil.rmtree(done, ignore_errors=True)
