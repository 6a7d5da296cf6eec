"""All stages of prepared projects, a forked process for each, under a limit of memory and of time.

Run as a script: `PYTHONPATH=workflow python tests/running_stages.py FOLDER ...`, where each folder holds case.json with the
commands, and gets outcome.json and stderr.txt. Forked, since to import torch takes longer than to run a tiny project. It imports
nothing of the tests, so that it runs other versions of the code as well.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shlex
import signal
import sys
import time
from pathlib import Path

STAGES = ("check", "download", "pack", "split", "weights", "pretrain", "finetune", "evaluate", "photos", "report")
MEMORY_BYTES = 5 << 30  # of addresses, above what the libraries take on their own
POLL_S = 0.02


def run_stages(folder: Path, commands: dict[str, str], stages: list[str], environment: dict[str, str]) -> int:
    """In a process of its own: the stages in turn until one fails; the exit code."""
    os.environ.update(environment)
    os.chdir(folder)
    for name, file in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), name)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    for stage in stages:
        Path("at.txt").write_text(stage)
        words = shlex.split(commands[stage])
        code = importlib.import_module(f"stages.{stage}").main(words[words.index("-m") + 2 :])
        if code:
            return code
    return 0


def wait(pid: int, folder: Path, seconds: float, stop_after: float | None) -> tuple[int | None, bool]:
    """The wait status of a process, None if it had to be killed; and whether a training was asked to stop."""
    since, asked = time.monotonic(), False
    while time.monotonic() - since < seconds:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, asked
        at = folder / "at.txt"
        is_training = at.is_file() and at.read_text() in ("pretrain", "finetune")
        if stop_after is not None and not asked and is_training and time.monotonic() - since > stop_after:
            os.kill(pid, signal.SIGTERM)
            asked = True
        time.sleep(POLL_S)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None, asked


def run_case(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text())
    pid = os.fork()
    if pid == 0:
        os.setsid()
        code = 70
        try:
            code = run_stages(folder, case["commands"], case["stages"], case["environment"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    since = time.monotonic()
    status, asked = wait(pid, folder, case["seconds"], case["stop_after"])
    outcome = {
        "code": None if status is None else os.waitstatus_to_exitcode(status),
        "stage": (folder / "at.txt").read_text() if (folder / "at.txt").is_file() else "",
        "asked_to_stop": asked,
        "seconds": round(time.monotonic() - since, 1),
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    for name in STAGES:
        importlib.import_module(f"stages.{name}")
    for argument in sys.argv[1:]:
        run_case(Path(argument))
