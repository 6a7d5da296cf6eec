"""Options that change the speed of a run but never its result; from the environment, so that both tools can pass them on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from depthmask.base.errors import UserError
from depthmask.runs.hardware import count_cores

PROCESSES_MAX = 1024  # more would be a typo, and exhaust the machine's memory
MINUTES_MAX = 366 * 24 * 60
COUNT_MAX = 10**9
SHOWN_MAX = 40
BOARD = "tensorboard"


@dataclass(frozen=True)
class SpeedOptions:
    """Options of a training. times: whether to time the phases of a step. trackers: names of those to write for.

    devices: processes, one a device. micro_batch: most samples of a batch that are computed at once. These two change the last
    bits, and micro_batch what batch norms see.
    """

    num_workers: int
    checkpoint_steps: int | None
    checkpoint_minutes: float
    times: bool = False
    devices: int = 1
    micro_batch: int | None = None
    trackers: tuple[str, ...] = (BOARD,)


def read_speed_options(environment: Mapping[str, str] | None = None) -> SpeedOptions:
    """Read DEPTHMASK_WORKERS (default: cores minus one, at most 8) and the other variables.

    The others: DEPTHMASK_CHECKPOINT_STEPS (none), DEPTHMASK_CHECKPOINT_MINUTES (1), DEPTHMASK_TIMES (0), DEPTHMASK_DEVICES (1),
    DEPTHMASK_MICRO_BATCH (none), DEPTHMASK_TENSORBOARD (1), DEPTHMASK_TRACKERS (none beside TensorBoard).

    Raises:
        UserError: one of them is not a number, or negative, or _TIMES or _TENSORBOARD is neither 0 nor 1.
    """
    env = os.environ if environment is None else environment
    return SpeedOptions(
        num_workers=_read(env, "WORKERS", max(1, min(8, count_cores() - 1)), int, PROCESSES_MAX),
        checkpoint_steps=_read(env, "CHECKPOINT_STEPS", None, int, COUNT_MAX) or None,
        checkpoint_minutes=_read(env, "CHECKPOINT_MINUTES", 1.0, float, MINUTES_MAX),
        times=bool(_read(env, "TIMES", 0, int, 1)),
        devices=_read(env, "DEVICES", 1, int, PROCESSES_MAX) or 1,
        micro_batch=_read(env, "MICRO_BATCH", None, int, COUNT_MAX) or None,
        trackers=_read_trackers(env),
    )


def _read_trackers(env: Mapping[str, str]) -> tuple[str, ...]:
    """TensorBoard unless it is turned off, and the names separated by commas; whether there are such is not checked."""
    names = [name.strip().lower() for name in env.get("DEPTHMASK_TRACKERS", "").split(",")]
    board = [BOARD] if _read(env, "TENSORBOARD", 1, int, 1) else []
    if BOARD in names and not board:
        raise UserError(f"environment: DEPTHMASK_TRACKERS has {BOARD}, but DEPTHMASK_TENSORBOARD=0; change one of them")
    return tuple(dict.fromkeys([*board, *filter(None, names)]))


def read_num_processes(environment: Mapping[str, str] | None = None) -> int:
    """How many processes decode images at once: DEPTHMASK_WORKERS, at least 1; by default as many as there are cores.

    Raises:
        UserError: it is not a number, or negative.
    """
    return max(1, _read(os.environ if environment is None else environment, "WORKERS", count_cores(), int, PROCESSES_MAX))


def _read(env: Mapping[str, str], name: str, default: Any, kind: Callable[[str], Any], most: int) -> Any:
    text = env.get(f"DEPTHMASK_{name}", "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
        allowed = "0 or 1" if most == 1 else f"a number from 0 to {most}"
        raise UserError(f"environment: DEPTHMASK_{name}={shown}; allowed: {allowed}")
    return value
