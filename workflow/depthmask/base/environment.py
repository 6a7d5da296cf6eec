"""What is wrong with the environment, found before torch is loaded, which reads it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

from depthmask.base.errors import UserError, print_error
from depthmask.base.streams import prepare_streams

PREFIX = "DEPTHMASK_"
KNOWN = (
    "DEPTHMASK_CACHE",
    "DEPTHMASK_CHECKPOINT_MINUTES",
    "DEPTHMASK_CHECKPOINT_STEPS",
    "DEPTHMASK_DEVICES",
    "DEPTHMASK_FUZZ_CASES",
    "DEPTHMASK_LIMITS",
    "DEPTHMASK_MICRO_BATCH",
    "DEPTHMASK_STARTED_BY",
    "DEPTHMASK_TIMES",
    "DEPTHMASK_WORKERS",
)
AFFINITY = "GOMP_CPU_AFFINITY"
# numbers and ranges, as GCC's manual has them; of anything else torch's library for threads reads on and on
AFFINITY_FORM = re.compile(r"\s*\d{1,5}(-\d{1,5}(:\d{1,5})?)?([\s,]+\d{1,5}(-\d{1,5}(:\d{1,5})?)?)*\s*")
SHOWN_MAX = 60


def prepare_process() -> None:
    """Streams and environment of a process that is ours alone; for a script's first lines, since torch reads it when loaded.

    Raises:
        SystemExit: something in it would keep the process from starting; it was printed in one line.
    """
    prepare_streams()
    try:
        check_environment(os.environ)
    except UserError as error:
        raise SystemExit(print_error(error)) from error
    # idle compute threads wait for work by spinning, which starves whatever shares their cores (the loader, another training):
    # twenty times slower was seen. A short spin costs next to nothing where nobody else is
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if "LOCAL_RANK" not in os.environ:  # of several processes of a training, the one that starts the others has said it
        for line in list_misspelt(os.environ):
            from depthmask.base.terminal import warn  # late: most runs have nothing to be warned of

            warn(line)


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse what would have torch wait for ever when it is loaded; raises UserError."""
    affinity = environment.get(AFFINITY)
    if affinity and not AFFINITY_FORM.fullmatch(affinity):
        shown = affinity[:SHOWN_MAX]
        raise UserError(f"environment: {AFFINITY}={shown}; allowed: numbers of cores, such as 0-3 or 0 2 4; or unset it")


def list_misspelt(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that begins as ours do and is none of them."""
    lines = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            instead = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
            lines.append(f"environment: {name[:SHOWN_MAX]} is no variable of this project and changes nothing; {instead}")
    return lines
