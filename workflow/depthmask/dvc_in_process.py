"""What our own processes change in DVC, which they run in process: the Snakefile's main process and its jobs.

DVC 3.67 was written for one machine. Three of its parts fail where a disk is shared:

- Its list of readers and writers (`.dvc/tmp/rwlock`) names processes by PID. On another machine, or in another PID namespace,
  anybody who looks takes such a process for killed and removes its entry, and the process fails when it wants to do that itself.
  So our processes make no entries (`leave_no_entries`). They do respect those of DVC processes that live here.
- dvc.lock is written in place. Ours is renamed into place (`write_lock_file_atomically`), so that nobody reads half of it.
- What a stage was made from is read after its command has ended. `refuse_changed_inputs` compares it with what was there before.

With `core.hardlink_lock`, the repository's lock of a killed DVC stays until somebody removes it. Ours expires
(`let_locks_expire`).

tests/contract/test_dvc.py fails if another version of DVC no longer does what this relies on.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from depthmask.base.files import replace_file
from depthmask.dvc_lock import find_blockers
from depthmask.lock_records import read_records

LOCK_EXPIRES_S = 180.0
LOCK_BEAT_S = 20.0


@contextlib.contextmanager
def _replace(place: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block, `place.name` (of a module or class of DVC's) is `value`."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextlib.contextmanager
def leave_no_entries() -> Iterator[None]:
    """Within the block, DVC's operations on stages make no entries in its list of readers and writers, and remove none."""
    import dvc.rwlock

    with _replace(dvc.rwlock, "rwlock", _respect_others):
        yield


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
def read_params_once() -> Iterator[None]:
    """Within the block, DVC parses a params file once, not twice for each stage, which is half of the time at a thousand."""
    import dvc.dependency.param

    before = dvc.dependency.param.load_path
    read: dict[tuple[str, int, int], Any] = {}

    def load_path(path: str, *settings: Any, **more: Any) -> Any:
        if more:
            return before(path, *settings, **more)
        stat = Path(path).stat()
        key = str(path), stat.st_mtime_ns, stat.st_size
        if key not in read:
            read[key] = before(path, *settings)
        return read[key]

    with _replace(dvc.dependency.param, "load_path", load_path):
        yield


@contextlib.contextmanager
def write_lock_file_atomically() -> Iterator[None]:
    """Within the block, DVC renames dvc.lock into place, with the bytes that it would write itself."""
    import dvc.dvcfile

    with _replace(dvc.dvcfile, "modify_yaml", _modify_atomically):
        yield


@contextlib.contextmanager
def _modify_atomically(path: str, fs: object = None) -> Iterator[dict[str, Any]]:
    """In the place of `dvc.utils.serialize.modify_yaml`; records that are not changed are copied as text (lock_records.py)."""
    del fs  # always this machine's disk
    from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

    file = Path(path).resolve()  # a link stays one
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    records = read_records(text)
    data = parse_yaml_for_update(text, path) if records is None else {"schema": "2.0", "stages": records}
    yield data
    is_all = records is not None and data.keys() == {"schema", "stages"} and data["stages"] is records
    with replace_file(file) as temporary:
        if is_all:
            temporary.write_text(records.format(), encoding="utf-8")
        else:
            dump_yaml(temporary, data if records is None else {**data, "stages": dict(data["stages"])})
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

    with _replace(dvc.stage.run, "cmd_run", cmd_run), _replace(dvc.stage.Stage, "save_deps", save_deps):
        yield


@contextlib.contextmanager
def note_commands(commands: list[subprocess.Popen]) -> Iterator[None]:
    """Within the block, each command that DVC starts for a stage is appended to `commands`.

    Its `returncode` is None while it runs, then as a shell reports it: 128 + the number of a signal that killed it.
    """
    import dvc.stage.run

    class NotedPopen(subprocess.Popen):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            commands.append(self)

        def communicate(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            printed = super().communicate(*args, **kwargs)
            if self.returncode < 0:
                self.returncode = 128 - self.returncode
            return printed

    noted = SimpleNamespace(Popen=NotedPopen, check_output=subprocess.check_output)
    with _replace(dvc.stage.run, "subprocess", noted):
        yield


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
    """Within the block, a repository's lock that is a file (`core.hardlink_lock`) expires unless its process lives.

    Only processes of ours break it then: DVC's own cannot, whatever its date says.
    """
    import dvc.lock

    with _replace(dvc.lock, "HardlinkLock", _make_expiring(dvc.lock.HardlinkLock)):
        yield


def _make_expiring(base: type) -> type:
    class ExpiringLock(base):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self._lifetime, self._end = timedelta(seconds=LOCK_EXPIRES_S), threading.Event()

        @property
        def details(self) -> tuple[str, int, str]:
            """Without them none is broken; DVC names the file of its claim by a hash, in which nothing can be read."""
            return "", 0, self.lockfile

        def lock(self, *args: Any, **settings: Any) -> None:
            super().lock(*args, **settings)
            self._end = threading.Event()
            threading.Thread(target=self._beat, args=(self._end,), name="lock", daemon=True).start()

        def unlock(self, **settings: Any) -> None:
            self._end.set()
            super().unlock(**settings)

        def _beat(self, end: threading.Event) -> None:
            while not end.wait(LOCK_BEAT_S):
                self._touch()

    return ExpiringLock
