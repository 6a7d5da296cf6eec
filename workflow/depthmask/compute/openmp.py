"""Ensures that the requested number of compute threads is used, whatever the OpenMP environment.

oneDNN, which computes torch's convolutions, divides work by the configured number of threads and waits for all of them. If
OpenMP starts fewer, because of OMP_THREAD_LIMIT, OMP_DYNAMIC or OMP_MAX_ACTIVE_LEVELS, it waits forever. And a number of threads
that depends on the machine's load would change the last bits of every sum.
"""

from __future__ import annotations

import ctypes

import torch

from depthmask.base.errors import UserError

LIMIT = "OMP_THREAD_LIMIT"


def claim_threads(num_threads: int, where: str) -> None:
    """Make torch compute with exactly num_threads in this process; where: the key or option that sets them.

    Raises:
        UserError: OMP_THREAD_LIMIT allows fewer; it is read when torch is loaded, so it cannot be raised here.
    """
    limit = find_thread_limit()
    if limit is not None and num_threads > limit:
        raise UserError(
            f"environment: {LIMIT}={limit} allows fewer threads than {where}: {num_threads}, which would hang",
            hint=f"run the command with {LIMIT} unset (unset {LIMIT}), or set {where} to {limit}",
        )
    torch.set_num_threads(num_threads)
    allow_whole_teams()


def allow_whole_teams() -> None:
    """Override OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS, so that a team has as many threads as requested."""
    openmp = _find_openmp()
    if openmp is not None:
        openmp.omp_set_dynamic(0)
        if openmp.omp_get_max_active_levels() < 1:
            openmp.omp_set_max_active_levels(1)


def require_whole_teams() -> None:
    """Raise if OpenMP would start fewer threads than torch has now; changes nothing.

    Raises:
        UserError: the first computation would hang.
    """
    openmp, num_threads = _find_openmp(), torch.get_num_threads()
    if openmp is None or num_threads == 1:
        return
    limit = openmp.omp_get_thread_limit()
    if limit < num_threads:
        raise UserError(f"environment: {LIMIT}={limit}, but torch has {num_threads} threads; call torch.set_num_threads({limit})")
    if openmp.omp_get_dynamic() or openmp.omp_get_max_active_levels() < 1:
        raise UserError(
            "environment: OMP_DYNAMIC or OMP_MAX_ACTIVE_LEVELS keeps torch's threads from starting, which would hang;"
            " unset it, or call torch.set_num_threads(1)"
        )


def find_thread_limit() -> int | None:
    """The maximum number of OpenMP threads of this process; None if torch uses another thread library."""
    openmp = _find_openmp()
    return None if openmp is None else openmp.omp_get_thread_limit()


def _find_openmp() -> ctypes.CDLL | None:
    """This process, as a library, if torch has brought OpenMP into it."""
    try:
        library = ctypes.CDLL(None)
        library.omp_get_thread_limit  # noqa: B018 - looked up when it is named
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no such handle
        return None
    return library
