"""Standard input, output and error as every command and stage needs them: open, and able to take any text.

A terminal or a pipe may be of any encoding, and file names may be no text at all. What cannot be shown as it is, is shown in
ASCII: signs by their like, everything else escaped. So no line of output can end a run, and no name is shown as another one.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import os
import sys
from typing import TextIO

ERRORS = "depthmask_in_ascii"
LIKE = {  # signs that texts of this project, of rich and of argparse have
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
    """Open the streams that whoever started this process has closed, and have each show what it cannot encode."""
    codecs.register_error(ERRORS, _show_in_ascii)
    atexit.unregister(_flush_at_end)
    atexit.register(_flush_at_end)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(number))
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", ERRORS) != ERRORS and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)
    for name in ("COLUMNS", "LINES"):  # rich takes any number there is, and other signs for numbers
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and len(value) < 5 and 1 <= int(value) <= COLUMNS_MAX):
            del os.environ[name]


def flush_output() -> None:
    """Write out what was printed.

    Raises:
        OSError: the disk is full, or nobody reads it any more; Python does not try again when it ends.
    """
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)
        raise


def give_up(stream: TextIO) -> None:
    """Send what a stream still holds nowhere: else Python tries once more when it ends, and fails."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream of a test has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def _flush_at_end() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            give_up(stream)


def _open_nowhere(number: int) -> TextIO:
    """A stream that goes nowhere, under the number that a library may write to; else that of the next file that is opened."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    else:  # taken since, by something else
        number = os.open(os.devnull, os.O_RDWR)
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def _show_in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = (LIKE.get(sign) or _escape(sign) for sign in error.object[error.start : error.end])
    return "".join(shown), error.end


def _escape(sign: str) -> str:
    r"""`\xff` for a byte of a name that is no text, as Python keeps it; else `\xfc`, `\u20ac`."""
    code = ord(sign)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else sign.encode("ascii", "backslashreplace").decode()
