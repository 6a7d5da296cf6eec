"""Commands and a stage in hostile environments: what they print, where, with what limits, and what variables say."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import Outcome, Tally, count_cases, judge
from making_reports import make_reports

PROJECT = Path(__file__).parents[2]
SOURCE = os.environ.get("DEPTHMASK_FUZZ_SOURCE", str(PROJECT / "workflow"))  # of another checkout, to compare with
SECONDS = 90
LONG = "9" * 100_000
NUMBERS = ("nan", "inf", "-inf", "1e400", "-0", "-1", "100000", "1e3", "0x10", "²", "", " ", "1;ls", "\udcff", "é", LONG)
VARIABLES = {
    **dict.fromkeys((f"DEPTHMASK_{name}" for name in ("WORKERS", "CHECKPOINT_STEPS", "CHECKPOINT_MINUTES", "TIMES")), NUMBERS),
    **dict.fromkeys(("DEPTHMASK_DEVICES", "DEPTHMASK_MICRO_BATCH", "DEPTHMASK_TYPO"), NUMBERS),
    "DEPTHMASK_CACHE": ("/dev/null", "/proc/none", "relative", "a" * 5000, "\udcff", "/dev/full/x"),
    "PYTHONIOENCODING": ("ascii", "latin-1", "ascii:strict", "cp1252", "utf-16", "utf-8:surrogateescape", "koi8-r"),
    "LC_ALL": ("C", "POSIX", "de_DE.ISO-8859-1", "nonsense", "tr_TR.UTF-8"),
    "PYTHONUTF8": ("0", "1"),
    "PYTHONCOERCECLOCALE": ("0",),
    "PYTHONHASHSEED": ("0", "4294967295", "random"),
    "COLUMNS": ("0", "1", "-5", "²", "x", "9" * 30, "100000", "3"),
    "LINES": ("0", "²", "x"),
    "TERM": ("", "dumb", "nonsense", "\x1b[31m", "xterm-256color"),
    "NO_COLOR": ("", "1"),
    "FORCE_COLOR": ("", "1", "nonsense"),
    "TTY_COMPATIBLE": ("1", "nonsense"),
    "TTY_INTERACTIVE": ("1", "0", "nonsense"),
    "TMPDIR": ("/nowhere", "/dev/null", "relative", "/proc"),
    "HOME": ("", "/nowhere", "relative", "/dev/null", "\udcff"),
    "XDG_CACHE_HOME": ("", "relative", "/dev/null", "/nowhere"),
    "TZ": ("nonsense", ":", "UTC+99"),
    "OMP_NUM_THREADS": ("0", "-1", "nonsense", "1000000", "1"),
    "OMP_THREAD_LIMIT": ("0", "1", "nonsense"),
    "OMP_DYNAMIC": ("TRUE", "nonsense"),
    "OMP_MAX_ACTIVE_LEVELS": ("0", "nonsense"),
    "OMP_WAIT_POLICY": ("ACTIVE", "nonsense"),
    "GOMP_CPU_AFFINITY": ("0", "nonsense", "-1", "0-99999"),
    "GOMP_SPINCOUNT": ("infinity", "nonsense"),
    "KMP_AFFINITY": ("nonsense",),
    "MKL_DYNAMIC": ("FALSE", "nonsense"),
    "MKL_NUM_THREADS": ("nonsense", "0"),
    "WORLD_SIZE": ("nonsense", "2"),
    "RANK": ("nonsense",),
    "PATH": ("", "/nowhere"),
    "LANGUAGE": ("tlh",),
}
STREAMS = ("", "", "", "<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "</dev/full")
LIMITS = ("", "", "", "ulimit -n 32;", "ulimit -c 0 -s 1024;", "umask 777;", "umask 0;")
CHEAP = ("check", "recipe", "scores", "help")
COMMANDS = {
    "check": ("-m", "depthmask", "check", "--params", str(PROJECT / "params.yaml")),
    "recipe": ("-m", "depthmask", "recipe", "--recipes", str(PROJECT / "workflow/recipes")),
    "scores": ("-m", "depthmask", "scores", "--reports", "{reports}"),
    "help": ("-m", "depthmask", "card", "--help"),
    "models": ("-m", "depthmask", "models", "compact"),
    "check stage": ("-m", "stages.check", "--params", str(PROJECT / "params.yaml"), "--out", "{out}/check.txt"),
    "report stage": (
        *("-m", "stages.report", "--params", str(PROJECT / "params.yaml"), "--reports", "{reports}", "--split", "{split}"),
        *("--lock", "{out}/none", "--recipes", str(PROJECT / "workflow/recipes"), "--leaderboard", "{out}/none"),
        *("--out", "{out}/index.html"),
    ),
    "download stage": (
        *("-m", "stages.download", "--params", str(PROJECT / "params.yaml"), "--out", "{out}/raw", "--run", "{out}/run.json"),
    ),
}


def make_case(number: int) -> tuple[str, dict[str, str], str, str]:
    """A command, variables, redirections and limits; one command in six loads torch or matplotlib, which takes seconds."""
    draw = random.Random(f"environment {number}")
    command = draw.choice([name for name in COMMANDS if name not in CHEAP] if number % 6 == 5 else CHEAP)
    names = draw.sample(sorted(VARIABLES), draw.randint(1, 4))
    return command, {name: draw.choice(VARIABLES[name]) for name in names}, draw.choice(STREAMS), draw.choice(LIMITS)


def run_case(case: tuple[str, dict[str, str], str, str], folders: dict[str, Path]) -> Outcome:
    """In a process of its own; where standard error leads nowhere the exit code has to be one of the project's own."""
    command, variables, streams, limits = case
    arguments = [text.format(**folders) for text in COMMANDS[command]]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DEPTHMASK_", "PYTHON", "OMP_", "LC_"))
    }
    environment |= {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"} | variables
    script = f'{limits} exec "$@" {streams}'
    try:
        done = subprocess.run(
            ["/bin/bash", "-c", script, "_", sys.executable, *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        return Outcome("hang", (error.stderr or b"").decode(errors="replace"))
    printed = done.stderr.decode(errors="replace")
    if "2>" in streams:
        kind = {0: "ran", 1: "refused", 2: "refused"}.get(done.returncode, "traceback")
        return Outcome(kind, f"exit code {done.returncode}")
    return judge(done.returncode, printed)


@pytest.mark.slow
def test_a_hostile_environment_is_rejected_in_a_line_or_changes_nothing(tmp_path):
    reports, split = make_reports(tmp_path)
    tally = Tally()
    for number in range(count_cases(18)):
        case = make_case(number)
        out = tmp_path / str(number)
        out.mkdir()
        shown = {name: value[:40] for name, value in case[1].items()}
        tally.add((number, case[0], shown, *case[2:]), run_case(case, {"reports": reports, "split": split, "out": out}))
    tally.check("hostile environments")


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_is_drawn_by_some_case(name):
    assert any(name in make_case(number)[1] for number in range(300))
