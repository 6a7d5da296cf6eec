"""Reports a stage's run while it lasts, and writes its record beside the results.

The record: when, how long, with which params, on which hardware, from which commit.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from depthmask import __version__
from depthmask.base.credentials import mask_values
from depthmask.base.files import write_json
from depthmask.base.terminal import NOTHING_KEPT, show_stage
from depthmask.runs.commit import read_commit
from depthmask.runs.hardware import describe_hardware, measure_peak_memory_mib

PACKAGES = (
    "torch",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "lightning-fabric",
    "pytorch-msssim",
    "dvc",
    "snakemake",
)
SOURCE = Path(__file__).parents[2]
# of the working folder's graph, and of the code that runs in it; results are tracked too, and change
WHAT_DECIDES = ("params.yaml", "dvc.yaml", "Snakefile", SOURCE, SOURCE.parent / "requirements.lock")


@dataclass
class RunRecord:
    """`extra` takes what a stage wants to add; it must be plain JSON. `result`: what the stage's last line says."""

    stage: str
    extra: dict[str, Any] = field(default_factory=dict)
    result: str = ""


@contextlib.contextmanager
def record_run(
    stage: str, path: Path | None, params: dict[str, Any], about: str = "", kept: str = NOTHING_KEPT
) -> Iterator[RunRecord]:
    """Print when the stage begins and how it ends, and write the record to `path` if the block succeeds.

    path: None in a graph without records. about, kept: see `show_stage`. The commit names the code that ran; `dirty` says
    that code or params in the working tree differed from it. If the commit is unknown, `commit_unknown` says why.
    """
    record, started, clock = RunRecord(stage), datetime.now(UTC), time.monotonic()
    with show_stage(stage, about, kept) as shown:
        yield record
        if path is not None:
            _write(record, path, params, started, time.monotonic() - clock)
        shown.result = record.result


def _write(record: RunRecord, path: Path, params: dict[str, Any], started: datetime, seconds: float) -> None:
    commit = read_commit(WHAT_DECIDES)
    write_json(
        path,
        {
            "stage": record.stage,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "params": mask_values(params),
            "versions": {"python": platform.python_version(), "depthmask": __version__, **_read_versions()},
            "hardware": describe_hardware(),
            "commit": commit.name,
            "dirty": commit.is_dirty,
            **({} if commit.name else {"commit_unknown": commit.reason}),
            "extra": {"peak_memory_mib": measure_peak_memory_mib()} | record.extra,
        },
    )


def _read_versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
