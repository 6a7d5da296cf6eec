"""Any text on a stream of any encoding: no line of output ends a run, and no name is shown as another one."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from making_reports import make_argv, make_reports, write_run

from depthmask import cli
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import choose_cache, write_json
from depthmask.base.streams import ERRORS, LIKE, prepare_streams
from depthmask.base.terminal import Bar, make_console, open_console, print_error_line, print_line
from stages import report

PROJECT = Path(__file__).parents[2]
ENCODINGS = ("ascii", "latin-1", "cp1252", "shift_jis", "utf-8")
SIGNS = "×–—−━δ²³↑↓’…"
BYTES = r"\\(xff\\x80|udcff\\udc80)"  # as a byte, or as Python keeps it
NAMES = "Größe \udcff\udc80 写真 \U0001f431 \ud800 \x1b[31m"


class Streams:
    """Both streams in an encoding and strict, as a terminal has them, within the block; `read` fails on what is not of it."""

    def __init__(self, encoding: str):
        self.encoding = encoding
        self.out, self.err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
        self._redirected = contextlib.ExitStack()

    def __enter__(self) -> None:
        self._redirected.enter_context(contextlib.redirect_stdout(self.out))
        self._redirected.enter_context(contextlib.redirect_stderr(self.err))
        open_console.cache_clear()

    def __exit__(self, *error: object) -> None:
        self._redirected.close()
        open_console.cache_clear()

    def read(self, stream: io.TextIOWrapper) -> str:
        stream.flush()
        return stream.buffer.getvalue().decode(self.encoding)


@pytest.fixture(params=ENCODINGS)
def streams(request) -> Streams:
    return Streams(request.param)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    reports, split = make_reports(tmp_path)
    write_run(reports, "evaluate", 3, extra={"source": {"name": "demo", "depth_unit": "metre"}})
    return reports, split


def test_scores_are_printed(streams, folders):
    with streams:
        assert cli.main(["scores", "--reports", str(folders[0])]) == 0
    printed = streams.read(streams.out)
    assert "mask IoU" in printed and "0.812" in printed and ("δ < 1.25" in printed or "delta < 1.25" in printed)
    assert "?" not in printed


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(streams, command):
    with streams, pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0 and f"usage: depthmask {command}" in streams.read(streams.out)


COMMANDS = {
    "recipes": ["recipe"],
    "a recipe": ["recipe", "default"],
    "networks": ["models", "compact"],
    "check": ["check", "--params", str(PROJECT / "params.yaml")],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_lists_are_printed(streams, monkeypatch, name):
    monkeypatch.chdir(PROJECT)
    with streams:
        assert cli.main(COMMANDS[name]) == 0
    assert len(streams.read(streams.out)) > 10


@pytest.mark.parametrize("arguments", [["check", "--params", NAMES], ["scores", "--reports", NAMES], ["recipe", NAMES]])
def test_a_name_that_is_no_text_is_escaped_in_the_error(streams, arguments):
    with streams:
        assert cli.main(arguments) in (1, 2)
    printed = streams.read(streams.err)
    assert printed.startswith("error: ") and re.search(BYTES, printed) and "\\ud800" in printed and "\x1b" not in printed


def test_the_stage_and_its_lines(streams, folders, tmp_path):
    out = tmp_path / "Größe – 写真.html"
    with streams:
        assert report.main(make_argv(folders, out)) == 0
    assert out.is_file() and "Gr" in streams.read(streams.err) and "done in" in streams.read(streams.err)


def test_lines_errors_and_bars(streams):
    with streams:
        prepare_streams()
        print_line(f"{SIGNS} {NAMES}")
        print_error_line(f"{SIGNS} {NAMES}", hint=NAMES)
        console = make_console(stderr=True, force_terminal=True, force_interactive=True, width=100, color_system=None)
        with Bar(f"a long name of {SIGNS} {NAMES} " * 3, "samples", 10, console=console) as bar:
            for _ in range(10):
                bar.advance()
                bar._bar.refresh()
    printed = streams.read(streams.err)
    assert re.search(BYTES, printed) and "\\x1b[31m" in printed and "10/10" in printed


def test_signs_become_their_like_and_letters_are_escaped():
    streams = Streams("ascii")
    with streams:
        prepare_streams()
        print("3 × 4 – δ < 1 … Größe \udcff")
    assert streams.out.errors == ERRORS and streams.read(streams.out) == "3 x 4 - delta < 1 ... Gr\\xf6\\xdfe \\xff\n"
    assert all(like.isascii() and like for like in LIKE.values())


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_no_file_takes_the_place_of_what_is_none(tmp_path, kind):
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    with pytest.raises((OSError, UserError), match=r"is a device|is a pipe|Is a directory"):
        write_json(path, {})
    assert [entry.name for entry in tmp_path.iterdir()] == [kind] and not path.is_file()


def test_names_that_are_no_text_are_kept_in_json(tmp_path):
    write_json(tmp_path / "a.json", {"name": "\udcff é"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "\udcff é"}


CLOSED = """
import os, sys
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.streams import prepare_streams
from depthmask.base.terminal import print_line
prepare_streams()
kept = open({path!r}, "wb")  # takes the number of a stream that is closed, if nobody else does
print("to standard output"); print_line("to standard error"); os.write(1, b"by number"); os.write(2, b"by number")
kept.write(b"kept"); kept.close()
sys.exit(print_errors_as_lines(lambda: 0)())
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_goes_nowhere_and_into_no_file(tmp_path, closed):
    path = tmp_path / "kept"
    command = ["bash", "-c", f'"$@" {closed}', "_", sys.executable, "-c", CLOSED.format(path=str(path))]
    done = subprocess.run(command, env={"PYTHONPATH": str(PROJECT / "workflow")}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"kept" and b"Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["recipe"], ["check"], ["scores", "--help"]])
def test_standard_output_on_a_full_disk_is_one_line(arguments):
    command = [sys.executable, "-m", "depthmask", *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, cwd=PROJECT, env={"PYTHONPATH": "workflow"}, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 1 and done.stderr.decode().startswith("error: output: the disk is full")
    assert len(done.stderr.splitlines()) == 1


FULL = "from depthmask.base.terminal import print_line; print_line('lost'); print_line('lost too'); print('done')"


def test_a_line_that_cannot_be_written_ends_no_work():
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", FULL]
        done = subprocess.run(
            command, env={"PYTHONPATH": str(PROJECT / "workflow")}, stdout=subprocess.PIPE, stderr=full, timeout=60
        )
    assert (done.returncode, done.stdout) == (0, b"done\n")


@pytest.mark.parametrize("columns", ["0", "-1", "1", "²", "x", "99999999999", ""])
def test_a_width_that_is_none_is_skipped(streams, monkeypatch, folders, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with streams:
        assert cli.main(["scores", "--reports", str(folders[0])]) == 0
    assert "\n" in streams.read(streams.out)


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (FileNotFoundError(2, "", "a/b"), "error: a/b: no such file or directory; check the path"),
        (NotADirectoryError(20, "", "a/b"), "error: a/b: not a directory; a part of the path is a file"),
        (IsADirectoryError(21, "", b"a"), "error: a: is a directory; a folder is in the place of a file"),
        (OSError(24, "", "a"), "error: a: too many open files; raise the limit"),
        (OSError(5, "", "a"), "error: a: input/output error; the disk reports an I/O error; see the system log"),
        (OSError(116, "", "a"), "error: a: stale file handle; the network disk has lost the file; rerun the same command"),
        (OSError(26, "", "a\udce9"), r"error: a\xe9: text file busy; check the path and its disk"),
        (OSError(36, "", "a" * 300), f"error: {'a' * 300}: file name too long; choose a shorter path"),
    ],
)
def test_the_systems_errors_about_a_path_are_one_line(capfd, error, printed):
    open_console.cache_clear()

    @print_errors_as_lines
    def main():
        raise error

    assert main() == 1
    assert capfd.readouterr().err.startswith(printed)


def test_the_cache_is_in_a_folder_with_an_absolute_path(monkeypatch, tmp_path):
    monkeypatch.delenv("DEPTHMASK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("relative", "../x", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert choose_cache() == tmp_path / ".cache" / "depthmask"
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(UserError, match="set DEPTHMASK_CACHE"):
        choose_cache()


def test_every_variable_of_the_code_is_known():
    environment = importlib.import_module("depthmask.base.environment")
    code = [path for path in (PROJECT / "workflow").rglob("*.py") if path.name != "environment.py"]
    paths = [*code, *(PROJECT / "docs").glob("*.md"), PROJECT / "CONTRIBUTING.md"]
    named = {name for path in paths for name in re.findall(r"DEPTHMASK_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))}
    assert named == set(environment.KNOWN)
    printed = environment.list_misspelt({"DEPTHMASK_WORKER": "1", "DEPTHMASK_WORKERS": "1", "OTHER": "1"})
    assert len(printed) == 1 and "did you mean DEPTHMASK_WORKERS?" in printed[0]
    for wrong in ("all", "0,1,", "-1", "0-", "0-3:", "1e9"):
        with pytest.raises(UserError, match="GOMP_CPU_AFFINITY"):
            environment.check_environment({"GOMP_CPU_AFFINITY": wrong})
    for right in ("", "0", "0-3", "0 2 4", "0-14:2", "0,1"):
        environment.check_environment({"GOMP_CPU_AFFINITY": right})
