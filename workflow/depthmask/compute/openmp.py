"""The compute threads that were asked for, whatever the environment says of OpenMP.

oneDNN, which torch computes convolutions with, divides its work by the number of threads that was set and waits for all of them
to arrive. Where OpenMP then starts fewer, as OMP_THREAD_LIMIT, OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS have it do, it waits for
ever. And a number of threads that follows from the machine's load would change the last bits of every sum.
"""

from __future__ import annotations

import ctypes

import torch

from depthmask.base.errors import UserError

LIMIT = "OMP_THREAD_LIMIT"


def claim_threads(num_threads: int, where: str) -> None:
    """Have torch compute with exactly so many threads in this process; `where`: the key or option that asks for them.

    Raises:
        UserError: OMP_THREAD_LIMIT allows fewer; it is read once, when torch is loaded, so that nothing here can raise it.
    """
    limit = find_thread_limit()
    if limit is not None and num_threads > limit:
        raise UserError(
            f"environment: {LIMIT}={limit} allows fewer threads than {where}: {num_threads}, which would wait for ever",
            hint=f"run the command with {LIMIT} unset (unset {LIMIT}), or set {where} to {limit}",
        )
    torch.set_num_threads(num_threads)
    allow_whole_teams()


def allow_whole_teams() -> None:
    """Take back what OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS say: a team of threads has as many as were asked for."""
    openmp = _find_openmp()
    if openmp is not None:
        openmp.omp_set_dynamic(0)
        if openmp.omp_get_max_active_levels() < 1:
            openmp.omp_set_max_active_levels(1)


def require_whole_teams() -> None:
    """Refuse to compute where OpenMP would start fewer threads than torch has now; changes nothing.

    Raises:
        UserError: the first computation would wait for ever.
    """
    openmp, num_threads = _find_openmp(), torch.get_num_threads()
    if openmp is None or num_threads == 1:
        return
    limit = openmp.omp_get_thread_limit()
    if limit < num_threads:
        raise UserError(f"environment: {LIMIT}={limit}, but torch has {num_threads} threads; call torch.set_num_threads({limit})")
    if openmp.omp_get_dynamic() or openmp.omp_get_max_active_levels() < 1:
        raise UserError(
            "environment: OMP_DYNAMIC or OMP_MAX_ACTIVE_LEVELS keeps torch's threads from starting, which would wait for ever;"
            " unset it, or call torch.set_num_threads(1)"
        )


def find_thread_limit() -> int | None:
    """The most threads that OpenMP starts for this process; None where torch uses another library for threads."""
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
