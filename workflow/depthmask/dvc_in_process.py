"""What our own processes change in DVC, which they run in process: the Snakefile's main process and its jobs.

DVC 3.67 was written for one machine. Three of its parts fail where a disk is shared:

- Its list of readers and writers (`.dvc/tmp/rwlock`) names processes by PID. On another machine, or in another PID namespace,
  anybody who looks takes such a process for killed and removes its entry, and the process fails when it wants to do that itself.
  So our processes make no entries (`leave_no_entries`). They do respect those of DVC processes that live here.
- dvc.lock is written in place. Ours is renamed into place (`write_lock_file_atomically`), so that nobody reads half of it.
- What a stage was made from is read after its command has ended. `refuse_changed_inputs` compares it with what was there before.

With `core.hardlink_lock`, the repository's lock of a killed DVC stays for a year. Ours expires soon (`let_locks_expire`).

tests/contract/test_dvc.py fails if another version of DVC no longer does what this relies on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from depthmask.base.files import replace_file
from depthmask.dvc_lock import find_blockers

LOCK_EXPIRES_S = 600.0
LOCK_BEAT_S = 60.0


@contextlib.contextmanager
def leave_no_entries() -> Iterator[None]:
    """Within the block, DVC's operations on stages make no entries in its list of readers and writers, and remove none."""
    import dvc.rwlock

    before = dvc.rwlock.rwlock
    dvc.rwlock.rwlock = _respect_others
    try:
        yield
    finally:
        dvc.rwlock.rwlock = before


@contextlib.contextmanager
def _respect_others(
    tmp_dir: str, fs: object, cmd: str, read: list[str], write: list[str], hardlink: bool
) -> Iterator[None]:  # as DVC calls it
    """In the place of `dvc.rwlock.rwlock`.

    Raises:
        dvc.lock.LockError: a DVC process of this machine works on one of the paths.
    """
    del fs, cmd, hardlink
    from dvc.lock import LockError

    for path, blockers in find_blockers(Path(tmp_dir), read, write):
        lines = "\n".join(f"  (PID {pid}): {command}" for pid, command in blockers)
        raise LockError(f"'{path}' is busy, it is being blocked by:\n{lines}")
    yield


@contextlib.contextmanager
def write_lock_file_atomically() -> Iterator[None]:
    """Within the block, DVC renames dvc.lock into place, with the bytes that it would write itself."""
    import dvc.dvcfile

    before = dvc.dvcfile.modify_yaml
    dvc.dvcfile.modify_yaml = _modify_atomically
    try:
        yield
    finally:
        dvc.dvcfile.modify_yaml = before


@contextlib.contextmanager
def _modify_atomically(path: str, fs: object = None) -> Iterator[dict[str, Any]]:
    """In the place of `dvc.utils.serialize.modify_yaml`."""
    del fs  # always this machine's disk
    from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

    file = Path(path).resolve()  # a link stays one
    try:
        data = parse_yaml_for_update(file.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        data = {}
    yield data
    with replace_file(file) as temporary:
        dump_yaml(temporary, data)
        if file.exists():
            shutil.copymode(file, temporary)


@contextlib.contextmanager
def refuse_changed_inputs(validate: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Within the block, DVC fails instead of recording a result whose inputs or params changed while its command ran.

    validate: called when a command has ended, before anything is recorded; it may raise.
    """
    import dvc.stage
    import dvc.stage.run

    run, save = dvc.stage.run.cmd_run, dvc.stage.Stage.save_deps
    before: dict[str, dict[str, Any]] = {}

    def cmd_run(stage: Any, dry: bool = False, **settings: Any) -> None:
        if not dry:
            before[stage.addressing] = describe_inputs(stage)
        run(stage, dry=dry, **settings)
        validate()

    def save_deps(stage: Any, **settings: Any) -> None:
        save(stage, **settings)
        if stage.addressing in before:
            _compare(before[stage.addressing], describe_inputs(stage))

    dvc.stage.run.cmd_run, dvc.stage.Stage.save_deps = cmd_run, save_deps
    try:
        yield
    finally:
        dvc.stage.run.cmd_run, dvc.stage.Stage.save_deps = run, save


def describe_inputs(stage: Any) -> dict[str, Any]:
    """The hash of every file and folder that a DVC stage depends on, and the value of every param, as DVC has read them last."""
    from dvc.dependency.param import ParamsDependency

    inputs = {}
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            values = (dependency.hash_info.value if dependency.hash_info else None) or {}
            inputs |= {f"{dependency.def_path} ({key})": value for key, value in values.items()}
        else:
            inputs[dependency.def_path] = dependency.hash_info.value if dependency.hash_info else None
    return inputs


def _compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    from dvc.exceptions import DvcException

    changed = [name for name in before | after if before.get(name) != after.get(name)]
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise DvcException(
            f"{changed[0]}{more} changed while the stage was running, so the result is not recorded;"
            " change nothing while it runs, and rerun the same command"
        )


@contextlib.contextmanager
def let_locks_expire() -> Iterator[None]:
    """Within the block, a repository's lock that is a file (`core.hardlink_lock`) expires unless its process lives."""
    from dvc.lock import HardlinkLock

    start, lock, unlock = HardlinkLock.__init__, HardlinkLock.lock, HardlinkLock.unlock
    ends: dict[int, threading.Event] = {}

    def begin(self: Any, *args: Any, **settings: Any) -> None:
        start(self, *args, **settings)
        self._lifetime = timedelta(seconds=LOCK_EXPIRES_S)

    def take(self: Any, *args: Any, **settings: Any) -> None:
        lock(self, *args, **settings)
        ends[id(self)] = end = threading.Event()
        threading.Thread(target=_refresh, args=(partial(os.path.exists, self.claimfile), self._touch, end), daemon=True).start()

    def give_back(self: Any, *args: Any, **settings: Any) -> None:
        ends.pop(id(self), threading.Event()).set()
        unlock(self, *args, **settings)

    HardlinkLock.__init__, HardlinkLock.lock, HardlinkLock.unlock = begin, take, give_back
    try:
        yield
    finally:
        HardlinkLock.__init__, HardlinkLock.lock, HardlinkLock.unlock = start, lock, unlock


def _refresh(is_held: Callable[[], bool], touch: Callable[[], None], end: threading.Event) -> None:
    while not end.wait(LOCK_BEAT_S) and is_held():
        touch()
