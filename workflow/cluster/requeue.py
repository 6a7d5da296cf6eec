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
NUM_IN_VAIN = 3  # starts in a row that may pass without anything saved: preempted early, say
COUNTS = Path(".snakemake/requeued")  # of the jobs whose last start was in vain, a file each: how many starts in a row were
SLURM_PATIENCE_S = 60  # until Slurm ends a job that it has put back


def came_further(log: str) -> bool:
    """Whether a stage that was stopped has saved more than it began with; log: what it printed."""
    saved = SAVED.findall(log)
    return bool(saved) and RESUMED.findall(log)[-1:] != saved[-1:]


def find_obstacle(log: str, state: str, in_vain: int) -> str | None:
    """Why a job is not to be repeated; None if it is.

    log: what the stage printed. state: the job's in Slurm, and its reason.
    in_vain: how many of its last starts, this one included, saved nothing new.
    """
    if not STOPPED.search(log):
        return "the stage was not stopped by a signal"
    if state not in ENDED_BY_SLURM:
        return f"Slurm says of the job: {state or 'nothing'}"
    if in_vain > NUM_IN_VAIN:
        return f"the stage saved nothing new in {in_vain} starts; it needs a longer time limit (runtime)"
    return None


def count_in_vain(job: str, log: str) -> int:
    """Count this start of a job among those in vain, or begin to count again; returns how many in a row were."""
    path = COUNTS / job
    if came_further(log):
        path.unlink(missing_ok=True)
        return 0
    number = int(path.read_text()) + 1 if path.exists() else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(number))
    return number


def main(arguments: list[str]) -> int:
    """Requeue this job, or return 1; ends with the job if it was requeued."""
    log, job = Path(arguments[0]), os.environ["SLURM_JOB_ID"]
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    ask = ["squeue", "--noheader", f"--jobs={job}", "--format=%T %r"]
    asked = subprocess.run(ask, capture_output=True, text=True, check=False)
    obstacle = find_obstacle(text, asked.stdout.strip(), count_in_vain(job, text))
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
