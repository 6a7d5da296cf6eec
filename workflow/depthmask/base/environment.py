"""Checks of the environment, made before torch is loaded, which reads it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

from depthmask.base.entry_points import print_error
from depthmask.base.errors import UserError
from depthmask.base.streams import prepare_streams

PREFIX = "DEPTHMASK_"
KNOWN = (
    "DEPTHMASK_CACHE",
    "DEPTHMASK_CHECKPOINTS",
    "DEPTHMASK_CHECKPOINT_MINUTES",
    "DEPTHMASK_CHECKPOINT_STEPS",
    "DEPTHMASK_DEVICES",
    "DEPTHMASK_FUZZ_CASES",
    "DEPTHMASK_GRAPH",
    "DEPTHMASK_LEASE",
    "DEPTHMASK_LIMITS",
    "DEPTHMASK_MICRO_BATCH",
    "DEPTHMASK_STARTED_BY",
    "DEPTHMASK_TENSORBOARD",
    "DEPTHMASK_TIMES",
    "DEPTHMASK_TRACKERS",
    "DEPTHMASK_WORKERS",
)
AFFINITY = "GOMP_CPU_AFFINITY"
# numbers and ranges, as in GCC's manual; on anything else torch's OpenMP library loops forever
AFFINITY_FORM = re.compile(r"\s*\d{1,5}(-\d{1,5}(:\d{1,5})?)?([\s,]+\d{1,5}(-\d{1,5}(:\d{1,5})?)?)*\s*")
SHOWN_MAX = 60


def prepare_process() -> None:
    """Prepare streams and environment of our own process; call it first in a script, because torch reads them when loaded.

    Raises:
        SystemExit: something in it would keep the process from starting; one line was printed.
    """
    prepare_streams()
    try:
        check_environment(os.environ)
    except UserError as error:
        raise SystemExit(print_error(error)) from error
    # idle compute threads spin while they wait, which starves whatever shares their cores (the loader, another training): up to
    # twenty times slower. A short spin costs next to nothing on an idle machine
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if "LOCAL_RANK" not in os.environ:  # the process that started this one has already printed them
        for line in list_misspelt(os.environ):
            from depthmask.base.terminal import warn  # late: most runs have nothing to warn about

            warn(line)


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise UserError for settings with which torch would hang while loading."""
    affinity = environment.get(AFFINITY)
    if affinity and not AFFINITY_FORM.fullmatch(affinity):
        shown = affinity[:SHOWN_MAX]
        raise UserError(f"environment: {AFFINITY}={shown}; allowed: numbers of cores, such as 0-3 or 0 2 4; or unset it")


def list_misspelt(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that starts like ours but is unknown."""
    lines = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            instead = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
            lines.append(f"environment: {name[:SHOWN_MAX]} is not a variable of this project and has no effect; {instead}")
    return lines
