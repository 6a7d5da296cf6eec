"""Snakemake's lock of the working folder, taken off by the next run when whoever had it was killed.

Snakemake's own lock files do not say whose they are. So every Snakemake here also holds a lock of the operating system, which
ends with its process however that ends, on a file that says on which machines they run. A lock file that is there while nobody
holds that lock was left by a killed run. With a run of another machine that cannot be known: then Snakemake itself decides.
"""

from __future__ import annotations

import contextlib
import fcntl  # its shared lock: filelock has none that any number of runs could hold
import os
import platform
from pathlib import Path

from depthmask.base.process_identity import name_process
from depthmask.base.terminal import note

FOLDER = Path(".snakemake")
LOCKS = FOLDER / "locks"  # Snakemake's: N.input.lock, N.output.lock
OWNERS = FOLDER / "depthmask.lock"  # a line for each run: its machine and its process there

_held: list[int] = []  # file descriptors, for as long as the process lives; no child inherits them


def hold_snakemake_lock() -> None:
    """Say that this process is a Snakemake of this folder, and remove the lock of one that was killed on this machine."""
    FOLDER.mkdir(exist_ok=True)
    descriptor = os.open(OWNERS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    _held.append(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # another one is alive: Snakemake looks whether both may work
        _write_owner(descriptor)
        return
    except OSError:
        return  # a disk without such locks
    locks = list(LOCKS.glob("*.lock"))
    owners = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace").splitlines()
    machines = {owner.rpartition(" ")[0] for owner in owners}
    if not locks or machines == {platform.node()}:
        for lock in locks:
            lock.unlink(missing_ok=True)
        if locks:
            note("removed the lock left here by a killed Snakemake")
        os.ftruncate(descriptor, 0)
        _write_owner(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # any number of runs may be alive at once


def is_alone() -> bool:
    """Whether no other Snakemake of this folder is alive, as far as the disk's locks reach; false where it has none."""
    if not _held:
        return False
    try:
        fcntl.flock(_held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(_held[-1], fcntl.LOCK_SH)


def _write_owner(descriptor: int) -> None:
    os.write(descriptor, f"{platform.node()} {name_process()}\n".encode())
