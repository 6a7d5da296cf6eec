"""Gives jobs that run side by side on one machine GPUs of their own, where no scheduler does.

A job locks the GPUs that it takes, one file each, in a folder of its user on this machine; the system drops a lock when the
job's process ends, however it ends. The job then sees its own GPUs only, by CUDA_VISIBLE_DEVICES, which CUDA reads once, when it
starts. If the variable is set already, by a scheduler or by hand, the job takes some of those that it names, and where there is
nothing to choose leaves it as it is.

No job waits: where all GPUs are taken it shares those with the fewest jobs. So more jobs than GPUs can be granted on purpose
(small networks, `--resources gpu=4` on two GPUs), and two clones on a machine with one GPU train as they would without the pool.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from depthmask.base.errors import UserError
from depthmask.base.terminal import note, warn
from depthmask.runs import hardware

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED = Path("/tmp")  # not TMPDIR, which may differ between two jobs
RANK = "LOCAL_RANK"  # set in one of a training's processes, for which the process that started them has chosen
LISTED = re.compile(r"^(GPU) \d+: .*\(UUID: (GPU-[\w-]+)\)\s*$|^\s+(MIG) .*\(UUID: (MIG-[\w/-]+)\)\s*$")
NAMES_ONE = re.compile(r"\s*(\d|GPU-|MIG-)")
NOT_OF_NAMES = re.compile(r"[^\w.-]")
PATIENCE_S = 20  # for nvidia-smi, which is slow on a machine that has just started
GUARD_S = 10  # for another job to choose

_held: list[FileLock] = []  # until this process ends


@dataclass(frozen=True)
class Gpu:
    """A GPU by its UUID, which is the same for every process, unlike a number. instances: its MIG devices, if it is divided."""

    uuid: str
    instances: tuple[str, ...] = ()


def list_gpus() -> list[Gpu]:
    """The GPUs that this process may use, in nvidia-smi's order; empty without an NVIDIA driver, which costs nothing to find out.

    Raises:
        UserError: there is a driver, but nvidia-smi does not say which GPUs there are.
    """
    if not hardware.NVIDIA.exists():
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, errors="replace", timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"no answer within {PATIENCE_S} s" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise UserError(f"nvidia-smi -L: {reason}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().partition("\n")[0]
        raise UserError(f"nvidia-smi -L: {said or f'exit code {done.returncode}'}")
    return parse_gpus(done.stdout)


def parse_gpus(text: str) -> list[Gpu]:
    """The GPUs in the output of `nvidia-smi -L`: a line each, followed by one for each of its MIG devices."""
    gpus: list[Gpu] = []
    for line in text.splitlines():
        found = LISTED.match(line)
        if found and found[1]:
            gpus.append(Gpu(found[2]))
        elif found and gpus:
            gpus[-1] = Gpu(gpus[-1].uuid, (*gpus[-1].instances, found[4]))
    return gpus


def claim_gpus(
    count: int,
    environment: MutableMapping[str, str] = os.environ,
    find_gpus: Callable[[], Sequence[Gpu]] = list_gpus,
    folder: Path | None = None,
) -> None:
    """Take `count` GPUs until this process ends, and hide the others from it; to be called before CUDA starts.

    environment: where CUDA_VISIBLE_DEVICES is read and set. folder: of the locks, by default that of `find_folder`. Does nothing
    where there are fewer GPUs, in a process that has claimed before, and in one of a training's several processes.
    """
    if _held or RANK in environment:
        return
    visible = environment.get(VISIBLE)
    if visible is not None and not NAMES_ONE.match(visible):
        return  # "", -1 or Slurm's NoDevFiles: no GPU
    try:
        gpus = find_gpus()
        places = list_places(gpus, visible, count)
        if len(places) < count:
            return
        chosen, num_jobs = _choose(places, count, folder or find_folder())
    except (UserError, OSError) as error:
        warn(f"{error}; jobs side by side may use the same GPU; set {VISIBLE} for each of them")
        return
    shown = [gpu.uuid for gpu in gpus] if visible is None else [token.strip() for token in visible.split(",")]
    names = [token for token, _ in chosen]
    if names != shown:
        environment[VISIBLE] = ",".join(names)
    if num_jobs and (visible is None or len(places) > count):
        shared = ", ".join(uuid for _, uuid in chosen)
        note(f"all GPUs are in use by other jobs of yours; sharing {shared} (to choose yourself, set {VISIBLE})")


def list_places(gpus: Sequence[Gpu], visible: str | None, count: int) -> list[tuple[str, str]]:
    """What a job that wants `count` may choose of: (as CUDA_VISIBLE_DEVICES names it, UUID), in order.

    visible: the variable's value; like CUDA, this ends at the first device that does not exist. Each MIG device of a divided GPU
    can be chosen, but CUDA gives a process no more than one: a job that wants several gets whole GPUs.
    """
    if visible is None:
        return [place for gpu in gpus for place in _divide(gpu, gpu.uuid, count)]
    places: dict[str, tuple[str, str]] = {}
    for token in map(str.strip, visible.split(",")):
        if token.startswith("MIG-"):
            found = [(token, token)] if count == 1 else []
        else:
            gpu = _find_gpu(gpus, token)
            if gpu is None:
                break
            found = _divide(gpu, token, count)
        places |= {uuid: (name, uuid) for name, uuid in found}
    return list(places.values())


def _find_gpu(gpus: Sequence[Gpu], token: str) -> Gpu | None:
    """The GPU that a number or a UUID, which may be cut short, names; None if there is none.

    A number is taken for nvidia-smi's. CUDA's own order differs where GPUs of several models are in one machine.
    """
    if token.isdecimal():
        return gpus[int(token)] if int(token) < len(gpus) else None
    return next((gpu for gpu in gpus if token.startswith("GPU-") and gpu.uuid.startswith(token)), None)


def _divide(gpu: Gpu, token: str, count: int) -> list[tuple[str, str]]:
    if not gpu.instances:
        return [(token, gpu.uuid)]
    return [(uuid, uuid) for uuid in gpu.instances] if count == 1 else []


def find_folder() -> Path:
    """The folder of the locks: of this user, on this machine's disk; made if it is missing.

    Raises:
        UserError: somebody else has put something there.
        OSError: it cannot be made.
    """
    folder = SHARED / f"depthmask-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user")
    return folder


def _choose(places: Sequence[tuple[str, str]], count: int, folder: Path) -> tuple[list[tuple[str, str]], int]:
    """Lock those with the fewest jobs; return them in order, and how many jobs the busiest of them had before."""
    folder.mkdir(exist_ok=True)
    with _guard(folder):
        jobs = {uuid: _count_jobs(folder, uuid) for _, uuid in places}
        chosen = sorted(places, key=lambda place: jobs[place[1]])[:count]  # stable: of equal ones the first
        for _, uuid in chosen:
            _held.append(_lock_slot(folder, uuid))
    return [place for place in places if place in chosen], max(jobs[uuid] for _, uuid in chosen)


@contextlib.contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """One job at a time chooses; a job that was stopped while it did (Ctrl-Z) does not keep the others."""
    guard = FileLock(folder / "choosing.lock")
    with contextlib.suppress(Timeout):
        guard.acquire(timeout=GUARD_S)
    try:
        yield
    finally:
        guard.release()


def _count_jobs(folder: Path, uuid: str) -> int:
    return sum(_is_locked(file) for file in folder.glob(f"{_name_file(uuid)}.*.lock"))


def _is_locked(file: Path) -> bool:
    try:
        with FileLock(file, blocking=False):
            return False
    except Timeout:
        return True


def _lock_slot(folder: Path, uuid: str) -> FileLock:
    """The lowest free lock of a GPU: a GPU has as many as it has had jobs at once."""
    number = 0
    while True:
        lock = FileLock(folder / f"{_name_file(uuid)}.{number}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            return lock
        number += 1


def _name_file(uuid: str) -> str:
    return NOT_OF_NAMES.sub("_", uuid)
