"""A running stage's lease: a file that says who runs it, so that nobody starts the same stage a second time, on any machine.

The file's date is a heartbeat. A process of this machine (same boot, same PID namespace) is known to live or not by its PID and
start time. Of another machine's only the heartbeat can be seen: while it moves, the lease is held; once it has stood still for
`EXPIRY_S`, the lease is abandoned, so that no killed run blocks for good. Whoever lost its lease that way, such as a suspended
job, must not record its result.

A Snakemake job takes the lease before it looks at the stage, and passes its token on to the stage's command, which joins. Under
a plain `dvc repro` the stage itself takes it: that is the first code of ours that runs.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import platform
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from depthmask.base.entry_points import print_error
from depthmask.base.errors import UserError
from depthmask.base.file_errors import advise_os_error
from depthmask.base.files import write_text
from depthmask.base.orphans import DVC_STAGE, find_tools, is_ending
from depthmask.base.process_identity import is_alive, is_ours, name_process
from depthmask.base.stop_signals import is_stage_script, leave

FOLDER = Path(".dvc/tmp/leases")  # neither git nor DVC looks into it; `dvc exp run --temp` has one of its own
TOKEN = "DEPTHMASK_LEASE"  # set by whoever holds the lease for the processes that work under it
BEAT_S = 5.0
EXPIRY_S = 60.0
PATIENCE_S = 30.0  # for the processes of a killed run to save and end
LOOK_EVERY_S = 0.3
SCHEDULERS = {"SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF", "JOB_ID": "SGE"}


@dataclass(frozen=True)
class Lease:
    """What the file says. job: a scheduler's, or ''.

    holders: names of processes, all on `host`; the first one took the lease. tools: names of those above them, up to the topmost
    tool; when any of these dies, the stage ends.
    """

    token: str
    stage: str
    host: str
    holders: tuple[str, ...]
    job: str = ""
    tools: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether its processes can be looked up here."""
        return bool(self.holders) and all(map(is_ours, self.holders))

    @property
    def pids(self) -> list[int]:
        """The numbers of its processes that live; only if it is local."""
        return [int(name.partition("-")[0]) for name in self.holders if is_alive(name)]

    @property
    def is_ending(self) -> bool:
        """Whether its processes are gone, or about to end because a tool above them was killed; only if it is local."""
        return not all(map(is_alive, self.tools)) or all(map(is_ending, self.pids))

    def describe(self) -> str:
        """Where it runs, in short: `on n1, PID 4711, Slurm job 12`."""
        numbers = [f"PID {name.partition('-')[0]}" for name in self.holders[:1]]
        return ", ".join([f"on {self.host}", *numbers, *filter(None, [self.job])])

    @property
    def refusal(self) -> str:
        """The line for whoever wanted to start the same stage."""
        return f"{self.stage} is already running ({self.describe()}); wait for it or stop it"


class HeldLease:
    """A lease that this process took; its heartbeat lasts until `release`, or until the process ends."""

    def __init__(self, path: Path, lease: Lease):
        self.path, self.lease, self.is_lost, self._owner = path, lease, False, os.getpid()
        self._end, self._last_look = threading.Event(), time.monotonic()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def validate(self) -> None:
        """Raise UserError if another run has taken the lease over, so that what was made here must not be recorded."""
        if self.is_lost or self._is_taken(read_lease(self.path)):
            raise UserError(
                f"{self.lease.stage}: this run was taken for dead after {EXPIRY_S:.0f} s without a sign of life, and another one"
                " has started; this result is not recorded"
            )

    def wait_for_joined(self) -> None:
        """Wait until the processes that joined have ended.

        A signal to stop kills a shell between this process and the stage at once, while the stage still saves.
        """
        while (found := read_lease(self.path)) is not None and found[0].token == self.lease.token:
            if not any(is_alive(name) for name in found[0].holders if name not in self.lease.holders):
                return
            time.sleep(LOOK_EVERY_S)

    def release(self) -> None:
        """Let go of the lease; never fails. In a forked child nothing happens."""
        if os.getpid() != self._owner:
            return
        self._end.set()
        found = read_lease(self.path)
        if found is not None and found[0].token == self.lease.token:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a full or absent disk; the next beat may get through
                found = read_lease(self.path)
                if self._is_taken(found):
                    self.is_lost = True
                    return
                if found is None and not self._end.is_set():
                    _create(self.path, self.lease)  # removed by hand
                else:
                    os.utime(self.path)
            self._last_look = time.monotonic()  # also if the disk did not answer: this process was not suspended

    def _is_taken(self, found: tuple[Lease, float] | None) -> bool:
        """Whether another run has the lease, or had it while this process was suspended, and has ended."""
        if found is None:
            return time.monotonic() - self._last_look > EXPIRY_S
        return found[0].token != self.lease.token


def find_path(stage: str, folder: Path | None = None) -> Path | None:
    """The file of a stage's lease in the DVC project of a folder (default: the working folder); None if it is in none.

    stage: its name, or DVC's address of it: `pretrain`, `leaderboard/dvc.yaml:train@a`.
    """
    folder = Path.cwd() if folder is None else folder
    root = next((place for place in (folder, *folder.parents) if (place / ".dvc").is_dir()), None)
    if root is None:
        return None
    key = "/".join([*folder.relative_to(root).parts, stage.rpartition(":")[2]])
    name = re.sub(r"[^\w@.-]", "_", key)[:100]
    return root / FOLDER / (f"{name}.json" if name == key else f"{name}~{hashlib.sha256(key.encode()).hexdigest()[:12]}.json")


def take_lease(stage: str) -> HeldLease | None:
    """Take the lease of a stage of the working folder; None if this is no DVC project, so that there are no leases.

    Raises:
        UserError: another process is running the stage.
    """
    path = find_path(stage)
    if path is None:
        return None
    lease = Lease(uuid.uuid4().hex, stage.rpartition(":")[2], platform.node(), (name_process(),), _name_job(), _name_tools())
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _create(path, lease):
        other = settle(path)
        if other is not None:
            raise UserError(other.refusal)
    return HeldLease(path, lease)


@contextlib.contextmanager
def hold_lease(stage: str) -> Iterator[HeldLease | None]:
    """`take_lease` for the length of the block; the processes that are started in it join, and are waited for.

    Raises:
        UserError: another process is running the stage.
    """
    held = take_lease(stage)
    if held is None:
        yield None
        return
    os.environ[TOKEN] = held.lease.token
    try:
        yield held
        held.wait_for_joined()
    finally:
        os.environ.pop(TOKEN, None)
        held.release()


def take_own_lease() -> None:
    """In a stage that DVC started: join the lease of the job it belongs to, else take it until the process ends.

    A stage started by hand has none.

    Raises:
        UserError: another process is running the stage, or has taken this job for dead.
    """
    stage, token = os.environ.get(DVC_STAGE), os.environ.get(TOKEN)
    path = find_path(stage) if stage and is_stage_script() else None
    if path is None:
        return
    if token is None:
        held = take_lease(stage)
        os.environ[TOKEN] = held.lease.token  # for the ranks that it starts
        atexit.register(held.release)
        return
    found = read_lease(path)
    if found is not None and found[0].token != token:
        raise UserError(found[0].refusal)
    if found is not None:
        tools = tuple(dict.fromkeys((*found[0].tools, *_name_tools())))
        lease = replace(found[0], holders=(*found[0].holders, name_process()), tools=tools)
        write_text(path, json.dumps(asdict(lease)))


def take_lease_or_exit() -> None:
    """`take_own_lease`; an error, or Ctrl-C while it waits, is one line.

    Raises:
        SystemExit: another process is running the stage, or the lease cannot be written; one line was printed.
    """
    try:
        take_own_lease()
    except UserError as error:
        raise SystemExit(print_error(error)) from error
    except OSError as error:
        explained = advise_os_error(error)
        if explained is None:
            raise
        raise SystemExit(print_error(explained)) from error
    except KeyboardInterrupt:
        leave(signal.SIGINT)


def list_running() -> list[Lease]:
    """The leases of the working folder's project that are held; waits where that is not yet clear, removes abandoned ones."""
    path = find_path("any")
    paths = sorted(path.parent.glob("*.json")) if path is not None else []
    return [lease for lease in map(settle, paths) if lease is not None]


def wait_for_ending() -> None:
    """Wait, for up to `PATIENCE_S`, for stages of this machine whose tool was killed, until they have saved and ended."""
    path = find_path("any")
    for one in sorted(path.parent.glob("*.json")) if path is not None else []:
        found = read_lease(one)
        if found is not None and found[0].is_local and found[0].is_ending:
            settle(one)


def settle(path: Path) -> Lease | None:
    """Wait until it is clear whether a lease is held: return it, or None if it is gone or abandoned; an abandoned one is removed.

    That takes no time if its processes are of this machine; `PATIENCE_S` at most if they are about to end; else until the
    heartbeat moves, `EXPIRY_S` at most.
    """
    since, first, is_announced = time.monotonic(), None, False
    while (found := read_lease(path)) is not None:
        lease, beat = found
        if lease.is_local:
            pids = lease.pids
            if pids and (not lease.is_ending or time.monotonic() - since > PATIENCE_S):
                return lease
            if not pids:
                _discard(path, lease)
                return None
            waiting = f"waiting for {lease.stage} of a killed run to end (PID {pids[0]})"
        else:
            if first is None or first[0] != lease.token:
                since, first = time.monotonic(), (lease.token, beat)
            elif beat != first[1]:
                return lease
            if max(time.monotonic() - since, _read_clock(path.parent) - beat) > EXPIRY_S:
                _discard(path, lease)
                return None
            waiting = f"waiting up to {EXPIRY_S:.0f} s to see whether {lease.stage} is still running ({lease.describe()})"
        if not is_announced:
            from depthmask.base.terminal import note  # late: most callers print nothing

            note(waiting)
            is_announced = True
        time.sleep(LOOK_EVERY_S)
    return None


def read_lease(path: Path) -> tuple[Lease, float] | None:
    """A lease and the date of its last heartbeat, on the disk's clock; None if there is none.

    A damaged file is a lease of an unknown process.
    """
    try:
        with path.open(encoding="utf-8") as file:  # opened each time: on NFS that is what asks the server
            beat, text = os.fstat(file.fileno()).st_mtime, file.read()
    except OSError:
        return None
    try:
        values = json.loads(text)
        return Lease(**values | {key: tuple(values[key]) for key in ("holders", "tools")}), beat
    except (ValueError, TypeError, KeyError):
        return Lease("", path.stem, "an unknown machine", ()), beat


def _create(path: Path, lease: Lease) -> bool:
    """Write a lease where there is none, whole at once; false if there is one."""
    own = _choose_temporary(path.parent, path.stem)
    own.write_text(json.dumps(asdict(lease)), encoding="utf-8")
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(lease)))
        except FileExistsError:
            return False
    finally:
        own.unlink(missing_ok=True)
    return True


def _discard(path: Path, lease: Lease) -> None:
    """Remove an abandoned lease, but not one that somebody else has taken meanwhile."""
    own = _choose_temporary(path.parent, path.stem)
    with contextlib.suppress(OSError):  # another one was faster
        path.rename(own)
        found = read_lease(own)
        if found is not None and found[0].token != lease.token:
            os.link(own, path)
        own.unlink()


def _read_clock(folder: Path) -> float:
    """The time on the disk's clock, which gives heartbeats their dates."""
    own = _choose_temporary(folder, "clock")
    try:
        own.touch()
        return own.stat().st_mtime
    except OSError:
        return float("-inf")
    finally:
        with contextlib.suppress(OSError):
            own.unlink()


def _choose_temporary(folder: Path, name: str) -> Path:
    """A name that only this call uses, and by which `files` finds what a killed process left."""
    return folder / f".{name}.{uuid.uuid4().hex}.{name_process()}.part"


def _name_tools() -> tuple[str, ...]:
    """The processes above this one that `orphans` watches."""
    return tuple(name_process(process.pid) for process in find_tools(psutil.Process()))


def _name_job() -> str:
    return next((f"{name} job {os.environ[key]}" for key, name in SCHEDULERS.items() if os.environ.get(key)), "")
