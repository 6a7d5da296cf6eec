"""Called in a Slurm job whose stage has failed: `requeue.py LOG` puts the job back into the queue if its stage can resume.

That is so if the log says that the stage was stopped by a signal, which Slurm sends before a time limit or a preemption, and
saved its work, so a training may take any number of time limits. A stage that saved nothing, or came no step further than the
last time, is repeated a few times only, and a user's error never. Snakemake sees a job that is pending once more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

STOPPED = re.compile(r"^error: .*stopped by SIG\w+", re.MULTILINE)
SAVED = re.compile(STOPPED.pattern + r".*\bresume(?: from step ([\d,]+))?", re.MULTILINE)
RESUMED = re.compile(r"resume[sd] from step ([\d,]+)")
ENDED_BY_SLURM = ("RUNNING None", "COMPLETING TimeLimit")  # the latter if the time limit itself has come; not scancel
NUM_IN_VAIN = 3  # starts that may pass without anything saved: preempted early, say
SLURM_PATIENCE_S = 60  # until Slurm ends a job that it has put back


def find_obstacle(log: str, state: str, restarts: int) -> str | None:
    """Why a job is not to be repeated; None if it is.

    log: what the stage printed. state: the job's in Slurm, and its reason.
    restarts: how often it was repeated already.
    """
    saved = SAVED.findall(log)
    if not STOPPED.search(log):
        return "the stage was not stopped by a signal"
    if state not in ENDED_BY_SLURM:
        return f"Slurm says of the job: {state or 'nothing'}"
    if restarts >= NUM_IN_VAIN and not saved:
        return "the stage saved nothing; it needs a longer time limit (runtime)"
    if restarts >= NUM_IN_VAIN and RESUMED.findall(log)[-1:] == saved[-1:]:
        return "the stage came no step further; it needs a longer time limit (runtime)"
    return None


def main(arguments: list[str]) -> int:
    """Requeue this job, or return 1; ends with the job if it was requeued."""
    log, job = Path(arguments[0]), os.environ["SLURM_JOB_ID"]
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    ask = ["squeue", "--noheader", f"--jobs={job}", "--format=%T %r"]
    asked = subprocess.run(ask, capture_output=True, text=True, check=False)
    obstacle = find_obstacle(text, asked.stdout.strip(), int(os.environ.get("SLURM_RESTART_COUNT") or 0))
    if obstacle is None:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        obstacle = done.stderr.strip() if done.returncode else None
    with log.open("a", encoding="utf-8") as file:
        if obstacle is None:
            print(f"note: Slurm job {job} was put back into the queue, and resumes when its turn comes", file=file)
        elif STOPPED.search(text):
            print(f"note: Slurm job {job} was not put back into the queue: {obstacle}", file=file)
    if obstacle is None:
        time.sleep(SLURM_PATIENCE_S)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
