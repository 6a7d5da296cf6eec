"""Keeps work across kills, in a folder outside every declared output, which both tools leave alone.

The folder's name contains a hash of everything that determines the result, so that a run can only find its own work.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hash_json
from depthmask.base.orphans import is_ending
from depthmask.base.paths import show_path
from depthmask.base.process_identity import NAME, is_alive, is_ours, name_process
from depthmask.base.terminal import note
from depthmask.execution.import_closure import find_closure

SOURCE = Path(__file__).parents[2]
PATIENCE_S = 30.0  # for an orphan to save and exit
LOOK_EVERY_S = 0.1
COPIES = (".dvc", "tmp", "exps")  # where DVC puts copies of the project, each in a folder of its own
CHECKPOINTS = "DEPTHMASK_CHECKPOINTS"  # a folder for the checkpoints of any number of clones


def find_checkpoints(name: Path) -> Path:
    """The folder of checkpoints: that named by DEPTHMASK_CHECKPOINTS, else `name` in the project.

    Raises:
        UserError: the variable does not name a folder by an absolute path, or nothing can be written there.
    """
    chosen = os.environ.get(CHECKPOINTS, "")
    if chosen:
        folder = Path(chosen)
        if not (folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            allowed = "the absolute path of a folder that exists and can be written to"
            raise UserError(f"environment: {CHECKPOINTS}={show_path(chosen)}; allowed: {allowed}")
        return folder
    return find_in_project(name)


def find_in_project(name: Path) -> Path:
    """`name` in the project itself, also from a copy of it: for what must outlast the copy.

    `dvc exp run --queue` and `--temp` run in a copy of the project below .dvc/tmp/exps, and the next run makes another one. So
    checkpoints are kept in the project: by their keys, runs find their own work alone.
    """
    here = Path.cwd()
    for place in here.parents:
        if place.parts[-3:] == COPIES:
            return place.parents[2] / name
    return name


def find_folder(stage: str, decides: dict[str, Any], module: str, root: Path) -> Path:
    """The folder in `root` of one run of a stage, keyed by what decides its result and by the code that computes it.

    decides: plain JSON; of an input, the hash of its content. module: the script; all that it imports counts, and nothing else.
    """
    code = {path.relative_to(SOURCE).as_posix(): hash_file(path) for path in find_closure(SOURCE, module)}
    return root / f"{stage}-{hash_json({'decides': decides, 'code': code})[:12]}"


@contextlib.contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[Path]:
    """Own the folder while working; it is removed if the block succeeds, else kept. what: names the work in the error.

    Waits for a process that is about to end because the tool that started it has died.

    Raises:
        UserError: another process is doing the same work right now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _take_lock(folder, what) as lock:
        done = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(done, ignore_errors=True)
        folder.mkdir(exist_ok=True)  # the process waited for may have finished and removed it
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if empty: nothing was saved yet
            raise
        os.replace(folder, done)  # first: a kill while it is being removed must leave nothing that looks like work
        shutil.rmtree(done, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)


def _take_lock(folder: Path, what: str) -> FileLock:
    """Acquire the lock of a folder, and write the name of this process into its file."""
    lock = FileLock(folder.parent / f"{folder.name}.lock")
    until, is_announced = time.monotonic() + PATIENCE_S, False
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            Path(lock.lock_file).write_text(name_process(), encoding="utf-8")
            return lock
        owner = _read_owner(Path(lock.lock_file))
        pid = owner and int(owner.partition("-")[0])
        if owner is None or (is_alive(owner) and not is_ending(pid)) or time.monotonic() > until:
            number = f" (PID {pid})" if owner else ""
            raise UserError(f"{folder}: the same {what} is still running{number}; wait for it or stop it")
        if not is_announced:
            note(f"waiting for the {what} of a killed run (PID {pid}) to save and end")
            is_announced = True
        time.sleep(LOOK_EVERY_S)


def _read_owner(lock_file: Path) -> str | None:
    """The name of the process that holds a lock; None if it is another machine's, or has not written it yet."""
    try:
        name = lock_file.read_text(encoding="utf-8")
    except OSError:  # removed by a process that has just finished
        return None
    return name if re.fullmatch(NAME, name) and is_ours(name) else None


def remove_others(folder: Path) -> None:
    """Remove leftovers of other runs of the same stage with old params, except those still in use."""
    stage = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{stage}-*"):
        if other.is_dir() and other != folder:
            with contextlib.suppress(UserError), hold_folder(other, "work"):
                pass
    for done in folder.parent.glob(f".{stage}-*.part"):
        shutil.rmtree(done, ignore_errors=True)
