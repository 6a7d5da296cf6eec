"""What a person sees: in a terminal, without colours, in a narrow one, and in a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from making_reports import make_reports
from rich.color import Color
from rich.terminal_theme import TerminalTheme

from depthmask.base import terminal
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.terminal import BYTES, THEME, Bar, count, make_console, make_table, print_error_line, print_line, show_stage
from stages import split as split_stage

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 120
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])m")
CURSOR = re.compile(r"\x1b\[\d*A|\x1b\[2K|\x1b\[\?25l")  # up, clear a line, hide: what a bar is made with
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BAR = "\u2501"
XTERM = TerminalTheme(
    (0, 0, 0),
    (229, 229, 229),
    [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)],
    [(127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)],
)
STEERING = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "TERM", "COLORTERM")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in STEERING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal.open_console.cache_clear()
    yield
    terminal.open_console.cache_clear()


def make_fake(width: int = 100, **settings):
    """A console that takes its file for a terminal."""
    return make_console(stderr=True, file=io.StringIO(), width=width, **{"force_terminal": True, **settings})


def read_lines(console) -> list[str]:
    """Every line, and every frame of a bar, that was written, without control codes."""
    return [CODES.sub("", part).rstrip() for part in re.split(r"[\r\n]", console.file.getvalue())]


def show_bar(console, unit: str = "composites", what: str = "packing", done: int = 500, total: int | None = 2_000) -> list[str]:
    with Bar(what, unit, total, console=console) as bar:
        bar.start(0, total)
        bar.advance(done, rate="180 images/s")
        bar._bar.refresh()
    return read_lines(console)


def test_a_bar_reports_what_is_done_of_how_much_how_fast_and_what_is_left():
    console = make_fake()
    frames = show_bar(console)
    assert any(re.fullmatch(rf"packing {BAR}.* 500/2,000 composites 180 images/s \S+ left", frame) for frame in frames), frames
    assert COLOUR.search(console.file.getvalue()) and CURSOR.search(console.file.getvalue())
    frames = show_bar(make_fake(), BYTES, done=2_000_000, total=8_000_000)
    assert any("2.0/8.0 MB" in frame for frame in frames), frames


@pytest.mark.parametrize("width", [120, 80, 60, 40, 30])
def test_a_bar_is_one_line_in_a_terminal_of_any_width(width):
    what = "fetching https://example.org/a/long/way/to/an/archive/of/composites/part-0001.tar.gz"
    frames = [frame for frame in show_bar(make_fake(width), what=what, done=123_456, total=400_000) if "123,456" in frame]
    assert frames and all(len(frame) <= width for frame in frames)
    assert all(frame.startswith("f") and "123,456/400,000" in frame for frame in frames), frames
    assert width < 40 or all(frame.endswith("left") for frame in frames)


def test_without_a_terminal_there_is_no_bar_but_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.0)
    assert show_bar(make_fake(force_terminal=False)) == ["packing: 500 of 2,000 composites", ""]
    assert show_bar(make_fake(force_terminal=False), BYTES, done=2_000_000, total=None) == ["packing: 2 MB", ""]
    monkeypatch.setenv("TERM", "dumb")
    assert BAR not in "".join(show_bar(make_fake()))


@pytest.mark.parametrize(
    ("name", "has_colour", "has_bar"),
    [("FORCE_COLOR", True, False), ("TTY_COMPATIBLE", True, True), ("TTY_INTERACTIVE", False, True), ("NOTHING", False, False)],
)
def test_a_pipe_has_colours_and_bars_by_asking(monkeypatch, name, has_colour, has_bar):
    monkeypatch.setenv(name, "1")
    console = make_fake(force_terminal=None)
    print_line("line", label="error: ", style="error", console=console)
    assert bool(COLOUR.search(console.file.getvalue())) == has_colour
    assert console.is_interactive == has_bar


def test_no_color_takes_colours_away(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "yes")
    console = make_fake()
    print_error_line("wrong", "mend it", console)
    assert not COLOUR.search(console.file.getvalue())
    assert read_lines(console) == ["error: wrong", "hint: mend it", ""]


def test_no_text_is_taken_for_markup_or_sent_as_control_codes():
    name, shown = "[red]a[/red][/].jpg :warning: \x1b[2J\nb", "[red]a[/red][/].jpg :warning: \\x1b[2J"
    console = make_fake(force_terminal=False)
    print_line(name, label="[bold]", console=console)
    assert console.file.getvalue() == f"[bold]{shown}\\nb\n"
    console = make_fake(force_terminal=False)
    print_error_line(name, name, console)
    assert console.file.getvalue() == f"error: {shown} b\nhint: {shown} b\n"
    assert any(frame.startswith(f"{shown}\\nb") for frame in show_bar(make_fake(160), what=name))
    table = make_table("[red]title")
    table.add_column("[b]column")
    table.add_row("[/]a-cell-wider-than-the-title")
    console = make_fake(force_terminal=False)
    console.print(table)
    assert console.file.getvalue().split() == ["[red]title", "[b]column", "[/]a-cell-wider-than-the-title"]


def test_an_error_names_a_file_as_it_is(capsys):
    @print_errors_as_lines
    def main():
        raise UserError("[red].jpg: damaged image", hint="remove [/red]")

    assert main() == 1
    assert capsys.readouterr().err == "error: [red].jpg: damaged image\nhint: remove [/red]\n"
    assert str(UserError("a", hint="b")) == "a; b"


def test_a_long_line_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    print_line("word " * 50)
    assert capsys.readouterr().err.count("\n") == 1


def _measure_contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2's contrast ratio."""

    def measure_light(colour: tuple[int, int, int]) -> float:
        parts = [part / 255 for part in colour]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((measure_light(one), measure_light(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_can_be_read_on_black_and_on_white():
    ours = ("error", "warning", "hint", "stage", "aside", "value", "bar.complete", "bar.finished", "bar.pulse", "bar.back")
    colours = {name: THEME.styles[name].color for name in ours}
    known = {name: colour.get_truecolor(XTERM) for name, colour in colours.items() if colour is not None}
    assert {"error", "warning", "stage", "bar.complete"} <= set(known)
    for name, colour in known.items():
        assert min(_measure_contrast(colour, (0, 0, 0)), _measure_contrast(colour, (255, 255, 255))) > 3, name
    assert _measure_contrast(Color.parse("yellow").get_truecolor(XTERM), (255, 255, 255)) < 2  # what is avoided


def test_a_stage_reports_when_it_begins_and_how_it_ended(capsys):
    with show_stage("split", "test 0.25") as stage:
        stage.result = "3 files; [out]"
    first, last = capsys.readouterr().err.splitlines()
    assert first == "split  test 0.25"
    assert re.fullmatch(r"split  done in \d\.\d s: 3 files; \[out\]", last)
    with pytest.raises(Interrupted, match="pack: stopped by Ctrl-C; parts stay") as caught, show_stage("pack", "", "parts stay"):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    with pytest.raises(UserError), show_stage("split", "x"):
        raise UserError("no")
    assert "done" not in capsys.readouterr().err


def test_numbers_go_with_their_nouns():
    assert [count(1, "epoch"), count(0, "epoch"), count(1200, "sample")] == ["1 epoch", "0 epochs", "1,200 samples"]


def test_a_reader_that_has_enough_is_no_error():
    code = "import sys; from depthmask.base.entry_points import print_errors_as_lines as p; sys.exit(p(print)('x' * 10**6))"
    environ = os.environ | {"PYTHONPATH": str(PROJECT / "workflow")}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait(PATIENCE_S) == 128 + signal.SIGPIPE


def run_in_terminal(command: list[str], folder: Path, interrupt_at: str | None = None, **environment: str) -> tuple[int, str]:
    """Exit code of a command in a pseudo-terminal, and all that it writes there; interrupt_at: after that text, Ctrl-C."""
    environ = {name: value for name, value in os.environ.items() if name not in STEERING}
    environ |= {"PYTHONPATH": str(PROJECT / "workflow"), "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    pid, terminal_end = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environ)
    written, until = b"", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            chunk = os.read(terminal_end, 65536)
        except OSError:  # its end, as Linux tells it
            break
        written += chunk
        if not chunk:
            break
        if interrupt_at and interrupt_at.encode() in written:
            os.write(terminal_end, b"\x03")
            interrupt_at = None
    os.close(terminal_end)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


SCORES = [sys.executable, "-m", "depthmask", "scores"]


def test_scores_have_style_in_a_terminal_and_none_in_a_pipe(tmp_path):
    make_reports(tmp_path)
    code, shown = run_in_terminal(SCORES, tmp_path)
    assert code == 0 and ESCAPE in shown and "mask IoU" in shown
    environ = os.environ | {"PYTHONPATH": str(PROJECT / "workflow"), "COLUMNS": "100"}
    piped = subprocess.run(SCORES, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert ESCAPE not in piped.stdout and piped.stderr == ""
    assert [line.rstrip() for line in CODES.sub("", shown).splitlines()] == [line.rstrip() for line in piped.stdout.splitlines()]
    (tmp_path / "reports/metrics.json").unlink()
    assert COLOUR.search(run_in_terminal(SCORES, tmp_path)[1])
    code, shown = run_in_terminal(SCORES, tmp_path, NO_COLOR="1")
    assert code == 1 and not COLOUR.search(shown) and "reports/metrics.json: no such file" in shown


@pytest.fixture
def pretrain(tmp_path, raw, start) -> list[str]:
    """The command of a small training in tmp_path."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    values["model"]["width"] = 4
    phase = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 40, "epochs": 3, "validation_samples": 4}
    values["pretrain"] |= phase
    values["compute"] |= {"device": "cpu", "threads": 1, "precision": "float32"}
    values["split"] |= {"validation": 0.25, "test": 0.25}
    params, split = tmp_path / "params.yaml", tmp_path / "split"
    params.write_text(yaml.safe_dump(values))
    assert split_stage.main(["--params", str(params), "--raw", str(raw), "--out", str(split)]) == 0
    made = ["--weights", "w.safetensors", "--history", "h.csv", "--run", "run.json"]
    return [sys.executable, "-m", "stages.pretrain", "--raw", str(raw), "--split", str(split), "--start", str(start), *made]


@pytest.mark.slow
def test_a_training_in_a_terminal_is_stopped_by_ctrl_c_and_resumes_in_a_pipe(tmp_path, pretrain):
    code, shown = run_in_terminal(pretrain, tmp_path, interrupt_at="epoch   1")
    assert code == 130, shown
    assert BAR in shown and CURSOR.search(shown) and COLOUR.search(shown)
    plain = CODES.sub("", shown)
    assert "pretrain  16 px, 3 epochs, cpu, 1 thread, fresh" in plain
    (step,) = re.findall(r"error: pretrain: stopped by Ctrl-C; rerun the same command to resume from step (\d+)", plain)
    assert "Traceback" not in plain
    environ = os.environ | {"PYTHONPATH": str(PROJECT / "workflow")}
    done = subprocess.run(pretrain, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "" and ESCAPE not in done.stderr and "\r" not in done.stderr and BAR not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == f"pretrain  16 px, 3 epochs, cpu, 1 thread, resumed from step {step} of 30"
    assert [line.split()[1:3] for line in lines[1:-1]][-1] == ["epoch", "3"]
    assert re.fullmatch(r"pretrain  done in [\d.]+ s: 30 steps, loss .*; w\.safetensors", lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "has_bar"), [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)])
def test_a_training_without_colours(tmp_path, pretrain, environment, has_bar):
    code, shown = run_in_terminal(pretrain, tmp_path, **environment)
    assert code == 0, shown
    assert not COLOUR.search(shown)
    assert (BAR in shown) == has_bar and bool(CURSOR.search(shown)) == has_bar
    assert has_bar or ESCAPE not in shown
