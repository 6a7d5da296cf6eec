"""Terminal output: one console, two colours, one style of line, bar and table.

Standard output carries what a command was asked for (scores, a list, a model card), so that it can be piped. Everything about
work in progress goes to standard error: a stage's first and last line, epochs, bars, notes, warnings, errors. They share one
stream because a bar would overwrite lines from another one.

Bars appear only if standard error is a terminal that is not dumb; otherwise there are plain lines without control codes.
NO_COLOR turns colours off; FORCE_COLOR and TTY_COMPATIBLE=1 turn them on for a file or a pipe, TTY_INTERACTIVE=1 also bars.
Any encoding can take every line (`streams.py`). No text is interpreted as rich markup, and control characters, which file names
may contain, are escaped.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text
from rich.theme import Theme

from depthmask.base.credentials import mask_secrets
from depthmask.base.durations import format_seconds
from depthmask.base.errors import Interrupted
from depthmask.base.streams import give_up

# of the sixteen terminal colours, these are readable on black and on white; everything else is bold or dim
THEME = Theme(
    {
        "error": "bold red",
        "warning": "bold magenta",
        "hint": "bold",
        "stage": "bold bright_blue",
        "aside": "dim",
        "value": "bold",
        "table.title": "bold",
        "bar.back": "dim",
        **dict.fromkeys(("bar.complete", "bar.finished", "bar.pulse"), "bright_blue"),
        **dict.fromkeys(("progress.download", "progress.remaining", "progress.data.speed"), "none"),
    }
)
BYTES = "bytes"  # unit of a bar shown in kB, MB and so on
WHAT_MAX = 60  # characters of a bar's description
LINE_EVERY_S = 30.0
# control characters, Unicode line ends, bidirectional marks, and lone surrogates
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
Item = TypeVar("Item")


def make_console(*, stderr: bool, **settings: Any) -> Console:
    """A console in the project's style. settings: rich's own, for tests."""
    stream: TextIO = settings.get("file") or (sys.stderr if stderr else sys.stdout)
    asked = settings.get("force_terminal") or any(os.environ.get(f"TTY_{name}") for name in ("INTERACTIVE", "COMPATIBLE"))
    if not asked and not stream.isatty():
        settings["force_interactive"] = False  # FORCE_COLOR asks for colours only; a bar would fill a log with frames
    return Console(stderr=stderr, theme=THEME, highlight=False, markup=False, emoji=False, **settings)


@functools.cache
def open_console() -> Console:
    """The process's only console on standard error: a bar and the lines above it must share it."""
    return make_console(stderr=True)


def make_table(title: str | None = None) -> Table:
    """An empty table without borders, as wide as its columns."""
    return Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)


def clean(text: object) -> str:
    """The text with control characters escaped (`\\x1b`) and secrets in URLs replaced by ***."""
    return escape_controls(mask_secrets(str(text)))


def escape_controls(text: str) -> str:
    """The text with the characters in CONTROL escaped."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count(number: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`, `1,200 samples`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def print_line(line: str, *, label: str = "", style: str = "", console: Console | None = None) -> None:
    """Print one line on standard error, after `label` in a style of the theme. Markup is not interpreted.

    If it cannot be written, such as to a log on a full disk, work continues without it.
    """
    console = console or open_console()
    try:
        console.print(Text.assemble((clean(label), style), clean(line)), soft_wrap=True)
    except OSError:
        give_up(console.file)


def print_error_line(message: str, hint: str | None = None, console: Console | None = None) -> None:
    """Print what is wrong and where, and on a second line the hint, if any."""
    print_line(" ".join(message.split("\n")), label="error: ", style="error", console=console)
    if hint:
        print_line(" ".join(hint.split("\n")), label="hint: ", style="hint", console=console)


def warn(message: str) -> None:
    """Print a warning; work continues."""
    print_line(message, label="warning: ", style="warning")


def note(message: str) -> None:
    """Print a note, such as what was already there."""
    print_line(message, label="note: ", style="hint")


class ShownStage:
    """A running stage. result: key figures or files for its last line."""

    def __init__(self, name: str):
        self.name, self.result = name, ""

    def print_line(self, line: str) -> None:
        print_line(f"  {line}", label=self.name, style="stage")


NOTHING_KEPT = "nothing was saved; rerun to start over"


@contextlib.contextmanager
def show_stage(name: str, about: str, kept: str = NOTHING_KEPT) -> Iterator[ShownStage]:
    """Print a line when a stage begins, and one with its duration and result when it succeeds.

    about: its input, in short. kept: what Ctrl-C keeps of its work, and how to resume.

    Raises:
        Interrupted: Ctrl-C was pressed.
    """
    stage, since = ShownStage(name), time.monotonic()
    stage.print_line(about)
    try:
        yield stage
    except KeyboardInterrupt:
        raise Interrupted.by_signal(name, kept) from None
    took = format_seconds(time.monotonic() - since)
    stage.print_line(f"done in {took}" + (f": {stage.result}" if stage.result else ""))


class _What(ProgressColumn):
    """The one column that shrinks in a narrow terminal; rich's TextColumn would wrap."""

    def render(self, task: Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Amount(ProgressColumn):
    """M/N as in rich's MofNCompleteColumn, with thousands separators."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{int(task.total):,}"
        return Text(f"{int(task.completed):,}/{total}")


class _Rate(ProgressColumn):
    """Units per second: as reported with the progress, else as rich measures it."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        reported, unit = task.fields["rate"], task.fields["unit"]
        speed = task.finished_speed or task.speed
        if reported or not speed or not unit:
            return Text(reported)
        return Text(f"{speed:,.{0 if speed >= 10 else 1}f} {unit}/s")


class _Left(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        time_left = super().render(task)
        return Text(f"{time_left} left") if time_left else time_left


def _choose_columns(width: int, unit: str) -> list[ProgressColumn]:
    """Columns that fit on one line at any width: the least important are dropped first."""
    one_line = {"table_column": Column(no_wrap=True)}
    amount = DownloadColumn(**one_line) if unit == BYTES else _Amount(**one_line)
    if width < 40:
        return [_What(), amount]
    left = _Left(compact=True, **one_line)
    if width < 70:
        return [_What(), BarColumn(8, **one_line), amount, left]
    rate = [TransferSpeedColumn(**one_line)] if unit == BYTES else [TextColumn(unit, markup=False), _Rate(**one_line)]
    return [_What(), BarColumn(30 if width >= 100 else 14, **one_line), amount, *rate, left]


class Bar:
    """Progress: a bar in a terminal, an occasional line elsewhere. No result depends on it.

    what: the activity. unit: what is counted, BYTES or a plural noun. total: None if unknown.
    with_lines: whether to print lines where there is no bar. is_shown: false in all but one of several processes.
    """

    def __init__(
        self,
        what: str,
        unit: str = "",
        total: int | None = None,
        *,
        with_lines: bool = True,
        is_shown: bool = True,
        console: Console | None = None,
    ):
        self.console = console or open_console()
        what = clean(what)
        self._what = what if len(what) <= WHAT_MAX else f"{what[: WHAT_MAX // 2 - 2]}...{what[1 - WHAT_MAX // 2 :]}"
        self._unit, self._total, self._done, self._told = unit, total, 0, time.monotonic()
        self._with_lines = with_lines and is_shown and not self.console.is_interactive
        self._bar = Progress(
            *_choose_columns(self.console.width, unit),
            console=self.console,
            disable=not (is_shown and self.console.is_interactive),
            transient=True,
            redirect_stdout=False,  # what is printed there is data
        )
        self._task = self._bar.add_task(self._what, total=total, unit=unit, rate="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def start(self, done: int, total: int | None, what: str | None = None) -> None:
        """Start at `done`, of `total` if known; time left and rate are measured from here."""
        self._done, self._total, self._what = done, total, self._what if what is None else clean(what)
        self._bar.reset(self._task, total=total, completed=done, description=self._what)

    def advance(self, number: int = 1, rate: str = "") -> None:
        """Add to what is done; rate: shown instead of the bar's own speed."""
        self.show(self._done + number, rate)

    def show(self, done: int, rate: str = "") -> None:
        """Set how many are done in total."""
        self._done = done
        self._bar.update(self._task, completed=done, rate=rate)
        now = time.monotonic()
        if self._with_lines and now - self._told > LINE_EVERY_S:
            self._told = now
            print_line(f"{self._what}: {self._describe()}", console=self.console)

    def _describe(self) -> str:
        scale, unit = (1e6, "MB") if self._unit == BYTES else (1, self._unit)
        of = f" of {self._total / scale:,.0f}" if self._total else ""
        return f"{self._done / scale:,.0f}{of} {unit}".rstrip()


def track(items: Iterable[Item], what: str, unit: str = "", total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar; total: None if len(items) gives it."""
    with Bar(what, unit, total if total is not None else operator.length_hint(items) or None) as bar:
        for item in items:
            yield item
            bar.advance()
