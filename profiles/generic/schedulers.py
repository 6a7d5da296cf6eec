"""PBS (OpenPBS, Torque), Grid Engine and LSF, as far as jobs of Snakemake need them; for Python 3.9 or later.

A job writes its exit code into a file, so that nothing depends on how long a scheduler remembers jobs that have ended. A training
that saved at its time limit is submitted again, as often as it takes; nothing else is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from cluster.requeue import ENDED_BY_SLURM, count_in_vain, find_obstacle

FOLDER = Path(".snakemake/generic")  # of the jobs: ID.json, what is known of one; TOKEN.sh and TOKEN.exit
UNKNOWN_S = 120  # a job that neither has an exit code nor is known to the scheduler has failed after this long
JOB = """\
#!/bin/sh
cd {folder} || exit 1
{script}
code=$?
echo $code > {exit}.part && mv {exit}.part {exit}
exit $code
"""


class Failure(Exception):
    """What the scheduler said, in a line."""


def name_scheduler() -> str:
    """`pbs`, `sge` or `lsf`, as CLUSTER_SCHEDULER says, else by the commands that there are."""
    named = os.environ.get("CLUSTER_SCHEDULER", "").lower()
    if named and named not in ACTIVE:
        raise Failure(f"CLUSTER_SCHEDULER={named}; allowed: {', '.join(ACTIVE)}")
    for command, scheduler in (("bsub", "lsf"), ("qconf", "sge"), ("qsub", "pbs")):
        if not named and shutil.which(command):
            return scheduler
    if not named:
        raise Failure("neither qsub nor bsub is on the PATH; on a Slurm cluster use profiles/slurm")
    return named


def list_options(scheduler: str, name: str, resources: dict, threads: int, log: Path) -> list[str]:
    """The submit command without its script. resources: mem_mb, runtime (minutes), gpu; threads: of one node."""
    memory, minutes, gpus = int(resources["mem_mb"]), int(resources["runtime"]), int(resources.get("gpu", 0))
    limit = f"{minutes // 60}:{minutes % 60:02d}:00"
    more = shlex.split(os.environ.get("CLUSTER_OPTIONS", ""))
    if scheduler == "lsf":
        gpu = ["-gpu", f"num={gpus}"] if gpus else []
        size = ["-n", f"{threads}", "-R", "span[hosts=1]", "-M", f"{memory}MB", "-W", limit.removesuffix(":00"), *gpu]
        warning = ["-wa", "USR2", "-wt", "2"]  # two minutes before the limit, so that a training can save
        return ["bsub", "-J", name, *size, *warning, "-o", f"{log}", *more]
    if scheduler == "sge":
        slots = ["-pe", os.environ.get("CLUSTER_PARALLEL_ENVIRONMENT", "smp"), f"{threads}"] if threads > 1 else []
        gpu = ["-l", f"gpu={gpus}"] if gpus else []
        times = ["-l", f"h_rt={limit}", "-l", f"s_rt={max(minutes - 2, 1) * 60}", "-notify"]
        memory_per_slot = ["-l", f"h_vmem={-(-memory // threads)}M"]
        size = [*slots, *memory_per_slot, *times, *gpu]
        return ["qsub", "-terse", "-V", "-cwd", "-S", "/bin/sh", "-N", name, *size, "-j", "y", "-o", f"{log}", *more]
    gpu = f":ngpus={gpus}" if gpus else ""
    node = f"select=1:ncpus={threads}:mem={memory}mb{gpu}"
    return ["qsub", "-V", "-N", name[:15], "-l", node, "-l", f"walltime={limit}", "-j", "oe", "-o", f"{log}", *more]


def submit(script: Path) -> str:
    """Submit Snakemake's script of a job; returns the scheduler's name of it."""
    line = next(line for line in script.read_text().splitlines() if line.startswith("# properties = "))
    properties = json.loads(line.removeprefix("# properties = ").strip())
    job = {
        "script": f"{script}",
        "name": re.sub(r"\W", "_", properties.get("rule") or properties.get("groupid") or "job"),
        "resources": properties["resources"],
        "threads": properties.get("threads", 1),
        "log": (properties.get("log") or [""])[0],
    }
    return write_job(job)


def write_job(job: dict, name: str | None = None) -> str:
    """Submit a job and note what is known of it, under the name that Snakemake knows (default: the scheduler's)."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    script, exit_file = (FOLDER / f"{token}.{suffix}" for suffix in ("sh", "exit"))
    words = {"folder": Path.cwd(), "script": job["script"], "exit": exit_file}
    script.write_text(JOB.format(**{key: shlex.quote(str(value)) for key, value in words.items()}))
    script.chmod(0o755)
    scheduler = name_scheduler()
    options = list_options(scheduler, job["name"], job["resources"], job["threads"], (FOLDER / f"{token}.txt").absolute())
    with script.open() as source:
        arguments = options if scheduler == "lsf" else [*options, str(script)]  # bsub reads the script from its input
        done = subprocess.run(arguments, stdin=source, capture_output=True, text=True, check=False)
    found = re.search(r"<(\d+)>" if scheduler == "lsf" else r"^\S+", done.stdout)
    if done.returncode or found is None:
        raise Failure(f"{shlex.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    external = found[found.lastindex or 0]
    note(name or external, job | {"scheduler": scheduler, "now": external, "exit": str(exit_file), "missing": None})
    return external


def note(name: str, job: dict) -> None:
    """Write down what is known of a job, whole at once."""
    own = FOLDER / f"{name}.json.part"
    own.write_text(json.dumps(job))
    own.replace(FOLDER / f"{name}.json")


def look(name: str) -> str:
    """`running`, `success` or `failed`; a training that saved at its time limit is submitted again, and so runs."""
    job = json.loads((FOLDER / f"{name}.json").read_text())
    exit_file = Path(job["exit"])
    if exit_file.exists():
        if exit_file.read_text().strip() == "0":
            return "success"
        log = Path(job["log"])
        text = log.read_text(errors="replace") if job["log"] and log.is_file() else ""
        if find_obstacle(text, ENDED_BY_SLURM[0], count_in_vain(name, text)) is not None:
            return "failed"
        log.unlink()  # so that it is not looked at again before the job has begun
        write_job(job, name)
        return "running"
    if ACTIVE[job["scheduler"]](job["now"]):
        if job["missing"]:
            note(name, job | {"missing": None})
        return "running"
    since = job["missing"] or time.time()
    if time.time() - since > UNKNOWN_S:
        return "failed"
    note(name, job | {"missing": since})
    return "running"


def cancel(names: list[str]) -> None:
    """Cancel jobs; those that have ended are no error."""
    for name in names:
        job = json.loads((FOLDER / f"{name}.json").read_text())
        subprocess.run(["bkill" if job["scheduler"] == "lsf" else "qdel", job["now"]], capture_output=True, check=False)


def _ask(*command: str) -> str:
    """A command's output; empty if it failed, as for a job that is no longer known."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout


def _is_active_in_pbs(job: str) -> bool:
    state = re.search(r"job_state = (\w)", _ask("qstat", "-f", job))
    return state is not None and state[1] not in "CFX"


def _is_active_in_sge(job: str) -> bool:
    known = _ask("qstat", "-j", job)
    return bool(known.strip()) and "error reason" not in known


def _is_active_in_lsf(job: str) -> bool:
    return _ask("bjobs", "-noheader", "-o", "stat", job).strip() not in ("", "DONE", "EXIT", "ZOMBI")


ACTIVE = {"pbs": _is_active_in_pbs, "sge": _is_active_in_sge, "lsf": _is_active_in_lsf}
