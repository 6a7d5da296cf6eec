"""The folder of one Snakemake run: its notes on stale stages, and the graph as its main process judged it, for its jobs.

A job on a cluster reads the Snakefile again, on another machine and beside other jobs. It takes the graph from here, instead of
asking DVC, which would read dvc.yaml, params.yaml and a dvc.lock that another job is writing. Each run has a folder of its own,
so that a `snakemake -n` beside a run changes nothing of it. Jobs find theirs by `GRAPH` in their environment: Slurm passes all
of it on, and Snakemake writes what a Snakefile declares as `envvars` into the command of other clusters' jobs.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from depthmask.base.files import write_text
from depthmask.base.process_identity import NAME, is_alive, is_ours, name_process

RUNS = Path(".snakemake/dvc")
GRAPH = "DEPTHMASK_GRAPH"
FILE = "graph.json"
CODES = "codes"
FORM = 1  # raised when the file's form changes
KEPT_S = 24 * 3600.0  # after a run was killed: its jobs may still be in a queue
FOREIGN_KEPT_S = 30 * 24 * 3600.0  # a run of another machine, of which only the date is known


def name_folder() -> Path:
    """The folder of this run, whether or not it exists."""
    return RUNS / name_process()


def write_graph(stages: Iterable[Any]) -> None:
    """Write the stages (dataclasses of plain values) for this run's jobs, atomically, and put its path into the environment."""
    path = name_folder() / FILE
    write_text(path, json.dumps({"form": FORM, "stages": [asdict(stage) for stage in stages]}))
    path.with_name(CODES).mkdir(exist_ok=True)
    os.environ[GRAPH] = str(path)


def name_codes() -> Path | None:
    """The folder of the run that this process belongs to, in which jobs leave their exit codes; None if the run is unknown."""
    graph = os.environ.get(GRAPH)
    return Path(graph).with_name(CODES) if graph else None


def read_graph() -> list[dict[str, Any]] | None:
    """The stages that this job's main process wrote; None if they cannot be read."""
    try:
        graph = json.loads(Path(os.environ[GRAPH]).read_text(encoding="utf-8"))
        return graph["stages"] if graph["form"] == FORM else None
    except (KeyError, OSError, ValueError, TypeError):
        return None


def remove_on_exit() -> None:
    """Remove this run's folder when this process ends, unless `keep` was called; by then all of its jobs have ended."""
    atexit.register(remove, name_folder().absolute())


def keep() -> None:
    """Leave this run's folder to its jobs, which run on after this process (`--immediate-submit`)."""
    atexit.unregister(remove)


def remove(folder: Path | None = None) -> None:
    """Remove a run's folder; default: this run's."""
    shutil.rmtree(name_folder() if folder is None else folder, ignore_errors=True)


def remove_old_runs() -> None:
    """Remove the folders of runs that ended long ago, and what older versions left here."""
    with contextlib.suppress(OSError):
        for path in RUNS.iterdir():
            with contextlib.suppress(OSError):
                age = time.time() - path.stat().st_mtime
                if re.fullmatch(NAME, path.name) and is_ours(path.name):
                    is_old = not is_alive(path.name) and age > KEPT_S
                else:
                    is_old = age > FOREIGN_KEPT_S
                if is_old and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif is_old:
                    path.unlink()
