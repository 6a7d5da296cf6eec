"""Slurm jobs of a Snakemake that was killed: they know nothing of it, and wait or run on.

The same command again has to end with the same results, without a person. So jobs that have not begun are cancelled, since this
run submits them itself, and those that run are waited for: their time in the queue is spent, and their work is this run's.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from depthmask.base.terminal import note

LOOK_EVERY_S = 5.0
RULE = "rule_"  # with which the comment of every job begins that Snakemake's executor submits


def settle_leftover_jobs() -> None:
    """Cancel this folder's jobs that have not begun, and wait until none is left; nothing to do without Slurm.

    Only for a Snakemake that has submitted none itself, while no other one runs here.
    """
    if shutil.which("squeue") is None:
        return
    waiting = [job for job, state in _list_jobs().items() if state == "PENDING"]
    if waiting:
        subprocess.run(["scancel", "--state=PENDING", *waiting], check=False, capture_output=True)
        note(f"cancelled Slurm jobs of a killed run that had not begun ({', '.join(waiting)})")
    is_announced = False
    while running := [job for job, state in _list_jobs().items() if state != "PENDING"]:
        if not is_announced:
            numbers = " ".join(running)
            note(f"waiting for Slurm jobs of a killed run to end; to stop them, so that trainings save: scancel {numbers}")
            is_announced = True
        time.sleep(LOOK_EVERY_S)


def _list_jobs() -> dict[str, str]:
    """The state of each job that Snakemake submitted from the working folder; none if Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%k|%Z"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return {}
    jobs = {}
    for line in asked.stdout.splitlines():
        job, state, comment, folder = line.split("|", 3)
        if comment.startswith(RULE) and Path(folder.strip()) == Path.cwd():
            jobs[job] = state
    return jobs
