"""Progress of a training: a bar in a terminal, otherwise a line per epoch; TensorBoard in both cases."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from depthmask.base.terminal import Bar, make_table, open_console, print_line
from depthmask.scores import Prominence, list_scores

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN = {  # column of the history: its short name, so that a line fits into 100 characters
    "train_loss": "loss",
    "validation_loss": "validation loss",
    **{f"validation_{spec.column}": spec.ascii_label for spec in list_scores(at_least=Prominence.PRIMARY)},
}


def describe_scores(row: dict, between: str = "  ") -> str:
    """The most important values of an epoch's row of the history."""
    return between.join(f"{label} {_show(row[name])}" for name, label in SHOWN.items() if name in row)


def _show(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4f}"


class _NullWriter:
    """A TensorBoard writer that does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _open_writer(log_folder: Path, purge_step: int | None) -> SummaryWriter:
    """A TensorBoard writer. It raises errors of its thread again in ours, so the traceback of the thread itself is suppressed."""
    # late: without curves a training starts half a second sooner
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
    from torch.utils.tensorboard import SummaryWriter

    before = threading.excepthook

    def report_others(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.thread, _AsyncWriterThread):
            before(failed)

    threading.excepthook = report_others
    return SummaryWriter(str(log_folder), purge_step=purge_step)


class Progress:
    """Counts images and reports epochs. No result depends on anything it writes.

    is_shown: false for all but one of several processes. with_board: whether to write for TensorBoard.
    """

    def __init__(self, stage: str, log_folder: Path, is_shown: bool = True, with_board: bool = True):
        self.with_board = with_board and is_shown
        self.stage, self.log_folder, self.is_shown = stage, log_folder, is_shown
        self.num_images, self.seconds = 0, 0.0
        self._writer: SummaryWriter | _NullWriter | None = None
        self._shown_phases: set[int] | None = set() if self.with_board else None  # None: no more images
        self._since = time.monotonic()
        self._bar = Bar(stage, "steps", with_lines=False, is_shown=is_shown)

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)
        if self._writer is not None:
            with self._stop_writing_on_error():
                self._writer.close()

    def log(self, line: str) -> None:
        if self.is_shown:
            print_line(f"  {line}", label=self.stage, style="stage")

    def start_phase(self, state, phase, steps_per_epoch: int) -> None:
        """Start a bar over the phase's steps; `state` holds how many are completed."""
        if self._writer is None:
            self._writer = _NullWriter()
            if self.with_board:
                with self._stop_writing_on_error():
                    self._writer = _open_writer(self.log_folder, state.total_steps or None)
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
        with self._stop_writing_on_error():
            for name, value in row.items():
                if name not in ("phase", "epoch", "step"):
                    group = name.replace("_", "/", 1) if name.startswith(("train_", "validation_")) else name
                    self._writer.add_scalar(group, value, row["step"])
            for name, seconds in times.items():
                self._writer.add_scalar(f"seconds/{name}", seconds, row["step"])
            self._writer.flush()
        self._since = time.monotonic()

    def show(self, job, state, batch) -> None:
        """Write validation samples to TensorBoard; once per phase its params; once the network's graph (a second or two).

        An image that cannot be drawn does not stop the training: the error is reported once.
        """
        if self._shown_phases is None:
            return
        from depthmask.training.board import write_graph, write_params, write_predictions  # late, like the writer

        try:
            if state.phase not in self._shown_phases:
                write_params(self._writer, job, state.phase)
                if not self._shown_phases:
                    write_graph(self._writer, state.scored_model, batch)
                self._shown_phases.add(state.phase)
            write_predictions(self._writer, state.scored_model, batch, state.total_steps)
            self._writer.flush()
        except Exception as error:
            self._shown_phases = None
            if isinstance(error, OSError):  # the curves would fail too
                self._writer = _NullWriter()
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            self.log(f"no more images for TensorBoard ({first_line}); training continues")
        self._since = time.monotonic()

    @contextlib.contextmanager
    def _stop_writing_on_error(self) -> Iterator[None]:
        """Curves that cannot be written, as on a full disk, do not stop the training: the error is reported once."""
        try:
            yield
        except OSError as error:
            self._writer, self._shown_phases = _NullWriter(), None
            self.log(f"no more curves for TensorBoard in {self.log_folder} ({error.strerror or error}); training continues")

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
