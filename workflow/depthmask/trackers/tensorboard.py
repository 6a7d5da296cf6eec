"""TensorBoard: curves, pictures, the network's graph and the params, as event files in runs/STAGE."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping

import torch
import yaml
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard import SummaryWriter

from depthmask.data.batch import Batch
from depthmask.trackers import TrackedRun, Tracker
from depthmask.trackers.pictures import NAME, ORDER, Maps, keep_model, take_images


def open_tracker(run: TrackedRun) -> Tracker:
    """The tracker of a training."""
    return TensorBoard(run)


class TensorBoard(Tracker):
    """Writes at once: an event file is buffered by a thread, whose errors are raised again by the next call here."""

    def __init__(self, run: TrackedRun):
        self.run, self.folder = run, run.logs / run.stage
        self.place = str(self.folder)
        self._writer: SummaryWriter | None = None

    def start(self, first_step: int, known_id: str | None) -> None:
        _hide_errors_of_writers()
        self._writer = SummaryWriter(str(self.folder), purge_step=first_step or None)
        text = yaml.safe_dump(dict(self.run.params), sort_keys=False)
        self._writer.add_text("params", "\n".join(f"    {line}" for line in text.splitlines()))

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def add_picture(self, name: str, picture_3HW: torch.Tensor, step: int) -> None:
        self._writer.add_image(f"{name}: {ORDER}" if name == NAME else name, picture_3HW, step)
        self._writer.flush()

    def add_network(self, model: torch.nn.Module, batch: Batch) -> None:
        """The network's graph for one image."""
        with keep_model(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the trace is valid for this image size only
            images = take_images(batch, model, 1)
            # traced here, since add_graph would run the network twice more to check the trace
            self._writer.add_graph(torch.jit.trace(Maps(model).eval(), images, check_trace=False), images)

    def end(self, outcome: str) -> None:
        if self._writer is not None:
            self._writer.close()


def _hide_errors_of_writers() -> None:
    """The traceback of a writer's thread; its error is raised again in ours."""
    before = threading.excepthook

    def report_others(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.thread, _AsyncWriterThread):
            before(failed)

    threading.excepthook = report_others
