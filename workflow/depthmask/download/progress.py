"""Bytes done, bytes a second and time left: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

LINE_EVERY_S = 30.0


class ByteBar:
    """Everything that it writes is for reading; no result depends on it."""

    def __init__(self, what: str):
        self.console = Console(stderr=True, highlight=False)
        self._what = what if len(what) <= 60 else f"{what[:28]}...{what[-29:]}"
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(self._what, total=None)
        self._done, self._total, self._told = 0, None, time.monotonic()

    def __enter__(self) -> ByteBar:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def start(self, done: int, total: int | None) -> None:
        """From `done` bytes on, of `total` if that is known."""
        self._done, self._total = done, total
        self._bar.reset(self._task, total=total, completed=done)

    def advance(self, num_bytes: int) -> None:
        self._done += num_bytes
        self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._told > LINE_EVERY_S:
            self._told = now
            of = f" of {self._total / 1e6:,.0f}" if self._total else ""
            self.console.print(f"{self._what}: {self._done / 1e6:,.0f}{of} MB", soft_wrap=True)
