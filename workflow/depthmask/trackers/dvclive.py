"""DVCLive: metrics, curves and pictures that DVC shows, in dvclive/STAGE; live in `dvc exp show` and in VS Code.

git ignores the folder, and DVC does not track it. Only while a training of `dvc exp run` lasts does it also contain a dvc.yaml,
without which neither tool would look at it: there is none to be committed, or to show old curves, afterwards.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from dvc.repo import Repo
from dvclive import Live

from depthmask.base.files import write_text
from depthmask.trackers import TrackedRun, Tracker
from depthmask.trackers.pictures import convert_to_bytes

FOLDER = Path("dvclive")
IN_EXPERIMENT = "DVC_EXP_BASELINE_REV"  # set by `dvc exp run`
GRAPH = "dvc.yaml"
# paths are relative to the file
SHOWN = "metrics:\n- metrics.json\nplots:\n- plots/metrics:\n    x: step\n- plots/images\n"


def open_tracker(run: TrackedRun) -> Tracker:
    """The tracker of a training."""
    return DvcLive(run)


class DvcLive(Tracker):
    """Saves no experiment, which `dvc exp run` does, and writes no dvc.yaml of the project."""

    def __init__(self, run: TrackedRun):
        self.run, self.folder = run, FOLDER / run.stage
        self.place = str(self.folder)
        self._live: Live | None = None

    def start(self, first_step: int, known_id: str | None) -> str:
        Repo.find_root()  # raises where there is no DVC project: Live would make one
        logging.getLogger("dvclive").setLevel(logging.ERROR)
        if known_id is not None:
            self._forget_after(first_step)
        self._live = Live(str(self.folder), resume=known_id is not None, save_dvc_exp=False, dvcyaml=None)
        self._live.log_params(dict(self.run.params))
        return str(self.folder)

    def _forget_after(self, step: int) -> None:
        """Remove the points that the training is going to write again."""
        for path in (self.folder / "plots" / "metrics").rglob("*.tsv"):
            head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            column = head.rstrip("\n").split("\t").index("step")
            write_text(path, head + "".join(row for row in rows if int(row.rstrip("\n").split("\t")[column]) <= step))

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        try:
            self._live.step = step
            for name, value in values.items():
                self._live.log_metric(name, value)
            self._live.next_step()
        except Exception:
            self._hide()
            raise
        if IN_EXPERIMENT in os.environ and not (self.folder / GRAPH).exists():
            (self.folder / "plots" / "images").mkdir(parents=True, exist_ok=True)
            write_text(self.folder / GRAPH, SHOWN)

    def add_picture(self, name: str, picture_3HW: torch.Tensor, step: int) -> None:
        self._live.log_image(f"{name}/{step}.png", convert_to_bytes(picture_3HW))

    def end(self, outcome: str) -> None:
        self._hide()  # before `end`, which would put the file into the experiment
        if self._live is not None:
            self._live.end()

    def _hide(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / GRAPH).unlink()
