"""Passes what a training reports to its trackers, and keeps whatever they do away from the training."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from depthmask.base.files import read_json, write_json
from depthmask.data.batch import Batch
from depthmask.trackers import TRACKERS, TrackedRun, Tracker
from depthmask.trackers.pictures import NAME, draw_predictions

IDS = "trackers.json"  # in the folder of checkpoints: {name of a tracker: what identifies its run}
REASON_MAX = 160
CONTINUES = "training continues"
FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"


@dataclass
class _Member:
    name: str
    tracker: Tracker
    draws: bool = True

    @property
    def title(self) -> str:
        return TRACKERS[self.name].title


@dataclass
class Tracking:
    """The trackers of a training. log: prints a line. One that fails is reported once, and passed nothing more."""

    names: Sequence[str]
    run: TrackedRun | None
    log: Callable[[str], None]
    _members: list[_Member] = field(default_factory=list)
    _has_started: bool = False
    _has_network: bool = False

    def start(self, first_step: int) -> None:
        """Begin, or in a resumed training continue, the run of every tracker; only the first call counts."""
        if self._has_started or not self.names:
            return
        self._has_started = True
        known, ids = self._read_ids() if first_step else {}, {}
        for name in self.names:
            place = ""
            try:
                with _keep_process():
                    tracker = import_module(f"depthmask.trackers.{name}").open_tracker(self.run)
                    place = f" in {tracker.place}"
                    found = tracker.start(first_step, known.get(name))
            except Exception as error:
                self.log(f"no curves for {TRACKERS[name].title}{place} ({_shorten(error)}); {CONTINUES}")
                continue
            self._members.append(_Member(name, tracker))
            ids |= {} if found is None else {name: found}
        if ids or known:
            with contextlib.suppress(OSError):  # checkpoints will say so
                write_json(self.run.folder / IDS, known | ids)

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.add_values`."""
        for member in list(self._members):
            try:
                with _keep_process():
                    member.tracker.add_values(values, step)
            except Exception as error:
                self._drop(member, error)

    def show(self, model: torch.nn.Module, batch: Batch, step: int) -> None:
        """Draw validation samples; the first time also pass the network on, which takes a second or two."""
        drawing = [member for member in self._members if member.draws]
        if not drawing:
            return
        try:
            with _keep_process():
                picture = draw_predictions(model, batch)
        except Exception as error:
            for member in drawing:
                member.draws = False
            titles = ", ".join(member.title for member in drawing)
            self.log(f"no more images for {titles} ({_shorten(error)}); {CONTINUES}")
            return
        is_first, self._has_network = not self._has_network, True
        for member in drawing:
            try:
                with _keep_process():
                    if is_first:
                        member.tracker.add_network(model, batch)
                    member.tracker.add_picture(NAME, picture, step)
            except OSError as error:  # the curves would fail too
                self._drop(member, error)
            except Exception as error:
                member.draws = False
                self.log(f"no more images for {member.title} ({_shorten(error)}); {CONTINUES}")

    def end(self, outcome: str) -> None:
        """The training has ended: FINISHED, FAILED, or STOPPED."""
        for member in list(self._members):
            try:
                with _keep_process():
                    member.tracker.end(outcome)
            except Exception as error:
                self._drop(member, error)
        self._members.clear()
        if self._has_started and self.run.folder.is_dir() and [file.name for file in self.run.folder.iterdir()] == [IDS]:
            (self.run.folder / IDS).unlink()  # nothing was saved: the next training is another run

    def _drop(self, member: _Member, error: Exception) -> None:
        self._members.remove(member)
        self.log(f"no more curves for {member.title} in {member.tracker.place} ({_shorten(error)}); {CONTINUES}")

    def _read_ids(self) -> dict[str, str]:
        path = Path(self.run.folder, IDS)
        with contextlib.suppress(OSError, ValueError):
            known = read_json(path)
            return {name: value for name, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}
        return {}


@contextlib.contextmanager
def _keep_process() -> Iterator[None]:
    """Restore the global random states and the hook for errors: libraries draw names from the first and replace the second."""
    states, hook = (random.getstate(), np.random.get_state()), sys.excepthook  # noqa: NPY002 (it is what libraries use)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            sys.excepthook = hook


def _shorten(error: Exception) -> str:
    """The reason in a few words."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") or type(error).__name__
    return line if len(line) <= REASON_MAX else f"{line[:REASON_MAX]}..."
