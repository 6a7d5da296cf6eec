"""Progress of a training: a bar in a terminal, otherwise a line per epoch; trackers in both cases."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType

from depthmask.base.errors import Interrupted
from depthmask.base.terminal import Bar, make_table, open_console, print_line
from depthmask.scores import Prominence, list_scores
from depthmask.trackers import TrackedRun
from depthmask.trackers.tracking import FAILED, FINISHED, STOPPED, Tracking

SHOWN = {  # column of the history: its short name, so that a line fits into 100 characters
    "train_loss": "loss",
    "validation_loss": "validation loss",
    **{f"validation_{spec.column}": spec.ascii_label for spec in list_scores(at_least=Prominence.PRIMARY)},
}


def describe_scores(row: dict, between: str = "  ") -> str:
    """The most important values of an epoch's row of the history."""
    return between.join(f"{label} {_show(row[name])}" for name, label in SHOWN.items() if name in row)


def _name_curve(column: str) -> str:
    """`validation/mask_iou` for a column of the history."""
    return column.replace("_", "/", 1) if column.startswith(("train_", "validation_")) else column


def _show(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4f}"


class Progress:
    """Counts images and reports epochs. No result depends on anything it writes.

    is_shown: false for all but one of several processes. run, trackers: what is tracked, and the names of its trackers.
    """

    def __init__(self, stage: str, run: TrackedRun | None = None, trackers: Sequence[str] = (), is_shown: bool = True):
        self.stage, self.is_shown = stage, is_shown
        self.num_images, self.seconds = 0, 0.0
        self._tracking = Tracking(trackers if is_shown and run is not None else (), run, self.log)
        self._since = time.monotonic()
        self._bar = Bar(stage, "steps", with_lines=False, is_shown=is_shown)

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)
        self._tracking.end(FINISHED if kind is None else STOPPED if issubclass(kind, Interrupted | KeyboardInterrupt) else FAILED)

    def log(self, line: str) -> None:
        if self.is_shown:
            print_line(f"  {line}", label=self.stage, style="stage")

    def start_phase(self, state, phase, steps_per_epoch: int) -> None:
        """Start a bar over the phase's steps; `state` holds how many are completed."""
        self._tracking.start(state.total_steps)
        done = state.epoch * steps_per_epoch + state.step
        self._bar.start(done, phase.epochs * steps_per_epoch, f"{self.stage} {phase.image_size_px} px")
        self._since = time.monotonic()

    def advance(self, num_images: int) -> None:
        """Count one step of `num_images`."""
        now = time.monotonic()
        self.num_images += num_images
        self.seconds += now - self._since
        self._since = now
        self._bar.advance(rate=f"{self.images_per_second:,.0f} images/s")

    @property
    def images_per_second(self) -> float:
        """Training images per second, including loading, excluding validation."""
        return self.num_images / self.seconds if self.seconds else 0.0

    def end_epoch(self, row: dict, times: dict[str, float]) -> None:
        """Report an epoch's row of the history; times: mean seconds of each portion of a step, if they were measured."""
        self.log(f"epoch {row['epoch']:>3}  {describe_scores(row)}  {self.images_per_second:.0f} images/s")
        values = {_name_curve(name): value for name, value in row.items() if name not in ("phase", "epoch", "step")}
        self._tracking.add_values(values | {f"seconds/{name}": seconds for name, seconds in times.items()}, row["step"])
        self._since = time.monotonic()

    def show(self, state, batch) -> None:
        """Show trackers the predictions for validation samples."""
        self._tracking.show(state.scored_model, batch, state.total_steps)
        self._since = time.monotonic()

    def end_training(self, times: dict[str, float]) -> None:
        """Print a table of where a step's time went, if it was measured."""
        if not times or not self.is_shown:
            return
        table = make_table(f"{self.stage}: milliseconds per step")
        table.add_column("part")
        table.add_column("mean", justify="right")
        for name, seconds in times.items():
            table.add_row(name.replace("_", " ", 1), f"{1000 * seconds:.2f}")
        open_console().print(table)
