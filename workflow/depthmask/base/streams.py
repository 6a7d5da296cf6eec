"""Makes standard input, output and error usable for every command and stage: open, and able to take any text.

A terminal or pipe may have any encoding, and file names need not be valid text. What cannot be encoded is shown in ASCII: some
characters by a lookalike, all others escaped. So no output can crash a run, and no two names look the same.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import sys
from typing import TextIO

ERRORS = "depthmask_in_ascii"
LIKE = {  # characters used by this project, rich and argparse, and their ASCII lookalikes
    "×": "x",
    "–": "-",
    "—": "-",
    "−": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "─": "-",
    "│": "|",
    "•": "*",
    "·": ".",
    "…": "...",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "δ": "delta",
    "²": "2",
    "³": "3",
    "↑": "(higher)",
    "↓": "(lower)",
}
COLUMNS_MAX = 1000


def prepare_streams() -> None:
    """Reopen streams that were closed when this process started, and make each escape what it cannot encode."""
    codecs.register_error(ERRORS, _show_in_ascii)
    atexit.unregister(_flush_at_end)
    atexit.register(_flush_at_end)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(number))
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", ERRORS) != ERRORS and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)
    for name in ("COLUMNS", "LINES"):  # rich accepts any number, even absurd ones
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and len(value) < 5 and 1 <= int(value) <= COLUMNS_MAX):
            del os.environ[name]


def flush_output() -> None:
    """Write out what was printed.

    Raises:
        OSError: the disk is full, or the reader has gone; Python does not retry at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)
        raise


def give_up(stream: TextIO) -> None:
    """Discard what a stream still buffers: otherwise Python tries again at exit, and fails."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # streams in tests have no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def _flush_at_end() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            give_up(stream)


def _open_nowhere(number: int) -> TextIO:
    """A null stream on a standard descriptor, which would otherwise be reused by the next file opened."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    else:  # already taken by something else
        number = os.open(os.devnull, os.O_RDWR)
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def _show_in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = (LIKE.get(sign) or _escape(sign) for sign in error.object[error.start : error.end])
    return "".join(shown), error.end


def _escape(sign: str) -> str:
    r"""`\xff` for a byte of a file name that is not valid text; else `\xfc`, `\u20ac`."""
    code = ord(sign)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else sign.encode("ascii", "backslashreplace").decode()
