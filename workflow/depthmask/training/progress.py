"""What a person sees of a training: a bar in a terminal, a line an epoch elsewhere, TensorBoard beside both."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard import SummaryWriter

from depthmask.base.terminal import Bar, make_table, open_console, tell
from depthmask.scores import Prominence, list_scores
from depthmask.training.board import write_answers, write_graph, write_params

SHOWN = {  # a column of the history: what a line calls it, so that the line fits into 100 columns
    "train_loss": "loss",
    "validation_loss": "validation loss",
    **{f"validation_{spec.column}": spec.ascii_label for spec in list_scores(at_least=Prominence.PRIMARY)},
}


def describe_scores(row: dict, between: str = "  ") -> str:
    """What matters most of an epoch's row of the history."""
    return between.join(f"{words} {row[name]:.4f}" for name, words in SHOWN.items() if name in row)


class _NoWriter:
    """Stands where TensorBoard's writer would."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _silence_writer() -> None:
    """TensorBoard writes in a thread of its own, whose errors it raises again in ours: no traceback of theirs besides."""
    before = threading.excepthook

    def tell_others(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.thread, _AsyncWriterThread):
            before(failed)

    threading.excepthook = tell_others


class Progress:
    """Counts images and tells of epochs; everything it writes is for reading, no result depends on it.

    is_shown: of several processes one tells and writes.
    """

    def __init__(self, stage: str, log_folder: Path, is_shown: bool = True):
        self.stage, self.log_folder, self.is_shown = stage, log_folder, is_shown
        self.num_images, self.seconds = 0, 0.0
        self._writer: SummaryWriter | _NoWriter | None = None
        self._shown_phases: set[int] | None = set() if is_shown else None  # None: pictures are off
        self._since = time.monotonic()
        self._bar = Bar(stage, "steps", with_lines=False, is_shown=is_shown)

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)
        if self._writer is not None:
            with self._giving_up_curves():
                self._writer.close()

    def tell(self, line: str) -> None:
        if self.is_shown:
            tell(f"  {line}", label=self.stage, style="stage")

    def start_phase(self, state, phase, steps_per_epoch: int) -> None:
        """A new bar over the phase's steps; `state` says how many are done."""
        if self._writer is None:
            self._writer = _NoWriter()
            if self.is_shown:
                _silence_writer()
                with self._giving_up_curves():
                    self._writer = SummaryWriter(str(self.log_folder), purge_step=state.total_steps or None)
        done = state.epoch * steps_per_epoch + state.step
        self._bar.start(done, phase.epochs * steps_per_epoch, f"{self.stage} {phase.image_size_px} px")
        self._since = time.monotonic()

    def advance(self, num_images: int) -> None:
        """One step of so many images."""
        now = time.monotonic()
        self.num_images += num_images
        self.seconds += now - self._since
        self._since = now
        self._bar.advance(rate=f"{self.images_per_second:,.0f} images/s")

    @property
    def images_per_second(self) -> float:
        """Training images a second, loading included, validation excluded."""
        return self.num_images / self.seconds if self.seconds else 0.0

    def end_epoch(self, row: dict, times: dict[str, float]) -> None:
        """Tell an epoch's row of the history; times: mean seconds of the parts of a step, where they were measured."""
        self.tell(f"epoch {row['epoch']:>3}  {describe_scores(row)}  {self.images_per_second:.0f} images/s")
        with self._giving_up_curves():
            for name, value in row.items():
                if name not in ("phase", "epoch", "step"):
                    group = name.replace("_", "/", 1) if name.startswith(("train_", "validation_")) else name
                    self._writer.add_scalar(group, value, row["step"])
            for name, seconds in times.items():
                self._writer.add_scalar(f"seconds/{name}", seconds, row["step"])
            self._writer.flush()
        self._since = time.monotonic()

    def show(self, job, state, batch) -> None:
        """Validation samples in TensorBoard; once a phase its params; once the network's graph, which takes a second or two.

        Nobody's training ends because a picture of it could not be drawn: what goes wrong is told once.
        """
        if self._shown_phases is None:
            return
        try:
            if state.phase not in self._shown_phases:
                write_params(self._writer, job, state.phase)
                if not self._shown_phases:
                    write_graph(self._writer, state.scored_model, batch)
                self._shown_phases.add(state.phase)
            write_answers(self._writer, state.scored_model, batch, state.total_steps)
            self._writer.flush()
        except Exception as error:
            self._shown_phases = None
            if isinstance(error, OSError):  # the curves would meet it too
                self._writer = _NoWriter()
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            self.tell(f"no more pictures for TensorBoard ({first_line}); the training goes on")
        self._since = time.monotonic()

    @contextlib.contextmanager
    def _giving_up_curves(self) -> Iterator[None]:
        """Nobody's training ends because its curves could not be written, as on a full disk: that is told once."""
        try:
            yield
        except OSError as error:
            self._writer, self._shown_phases = _NoWriter(), None
            self.tell(f"no more curves for TensorBoard in {self.log_folder} ({error.strerror or error}); the training goes on")

    def end_training(self, times: dict[str, float]) -> None:
        """A table of where the time of a step went, if that was measured."""
        if not times or not self.is_shown:
            return
        table = make_table(f"{self.stage}: milliseconds of a step")
        table.add_column("part")
        table.add_column("mean", justify="right")
        for name, seconds in times.items():
            table.add_row(name.replace("_", " ", 1), f"{1000 * seconds:.2f}")
        open_console().print(table)
