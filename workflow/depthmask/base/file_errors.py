"""The one place that turns what reading or writing a file can raise into a line that names the file.

`name_errors` wraps a reader of files that users bring: pictures, tables, settings. `explain_os_error` and `advise_os_error` are
for errors that the system raises elsewhere; `base.entry_points` catches those that nothing else did.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path

DISK_FULL = "the disk is full; free some space and rerun the same command"
WORDS = {
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "is a folder, not a file",
    errno.EINVAL: "is not a regular file",  # of files.read_regular_file
    errno.ENOTDIR: "a parent of it is a file, not a folder",
    errno.EEXIST: "a file is in the place of a folder",
    errno.ELOOP: "is a link to itself",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENXIO: "is a socket or a device, not a file",
    errno.ENODEV: "is a device, not a file",
    errno.ENOTEMPTY: "is a folder that is not empty",
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EROFS: "is on a read-only disk; choose another folder",
}
ADVICE = {  # what to do about system errors caused by a path or limit that the user chose
    errno.ENOENT: "check the path, and that the folder is writable",
    errno.ENOTDIR: "a part of the path is a file; choose another one",
    errno.EISDIR: "a folder is in the place of a file; choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EEXIST: "a file is in the place of a folder; choose another path",
    errno.ENOTEMPTY: "choose another path, or move its contents away",
    errno.ENXIO: "choose another path",  # a socket
    errno.ENODEV: "choose another path",
    errno.ELOOP: "links form a loop here; choose another path",
    errno.EINVAL: "choose another path",  # such as a pipe where a file is read
    errno.EFBIG: "choose a smaller file",
    errno.EMFILE: "raise the limit (ulimit -n 1024), or set DEPTHMASK_WORKERS lower",
    errno.ENFILE: "the system has no file handles left; close other programs",
    errno.EIO: "the disk reports an I/O error; see the system log",
    errno.ESTALE: "the network disk has lost the file; rerun the same command",
    errno.ETIMEDOUT: "the network disk does not answer; rerun the same command",
}
ANY_ADVICE = "check the path and its disk"
# faults of the machine or its set-up, not of one file: no sample is skipped because of them
OF_MACHINE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOSPC)
OF_MACHINE += (errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT)
START_BYTES = 64  # that show whether a file is text


@contextlib.contextmanager
def name_errors(path: Path | str, what: str = "file", key: str = "") -> Iterator[None]:
    """Run a reader of a file that a user brought: whatever it raises becomes a UserError that names the file.

    what: what the file should be. key: of params.yaml, if the path is written there.

    Raises:
        UserError: the file is missing, no file, or damaged; one that the reader itself raises is passed on.
        OSError: a fault of the machine (OF_MACHINE), with the file's name. MemoryError.
    """
    where = f"{key}: {show_path(path)}" if key else show_path(path)
    try:
        yield
    except (UserError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: {describe_decoding(error)}") from error
    except Exception as error:  # readers raise errors of many kinds: struct, zlib, SyntaxError, KeyError, IndexError
        if isinstance(error, OSError) and is_system_error(error):
            if error.errno not in WORDS or error.errno in OF_MACHINE:
                error.filename = str(path) if error.filename is None else error.filename
                raise
            raise UserError(f"{where}: {WORDS[error.errno]}; correct the path, or remove it") from error
        text = " ".join(str(error).split())[:200]
        reason = type(error).__name__ if text in ("", "None") else text
        raise UserError(f"{where}: damaged {what} ({reason}); replace or remove it") from error


def is_system_error(error: OSError) -> bool:
    """Whether the system raised an error, about a file or the machine; a reader raises others, about what is in a file.

    A wrong offset in a file makes even the system complain (EINVAL), but it names no file then.
    """
    return error.errno in OF_MACHINE or (error.errno is not None and error.filename is not None)


def find_fault_of_text(data: bytes) -> str | None:
    """Why a file is not UTF-8 text, judged by its first bytes, and what to do; None if they do not show it."""
    start = data[:START_BYTES]
    if start.startswith(b"PK\3\4"):
        return "is a workbook or another packed file, not text; export it as text (of a spreadsheet: CSV UTF-8)"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or start.count(b"\0") > min(8, len(start) // 3):
        return "line 1: is UTF-16 text; save the file as UTF-8"
    return None


def describe_decoding(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that should be UTF-8, where, and what to do."""
    data = bytes(error.object)
    if (fault := find_fault_of_text(data)) is not None:
        return fault
    line = data.count(b"\n", 0, error.start) + 1
    start = data.rfind(b"\n", 0, error.start) + 1
    shown = data[max(start, error.start - 20) : error.start].decode("utf-8", "replace") + data[error.start : error.end].decode(
        "latin-1"
    )
    return f"line {line}: {shown!r} is not UTF-8 (byte {error.start}); save the file as UTF-8"


def explain_os_error(error: OSError, path: Path | None = None) -> str | None:
    """What is wrong with a path, in one line; None if the error is not about a path or a user cannot fix it.

    path: used if the error names none; then every error gets a line.
    """
    named = next((name for name in (error.filename2, error.filename) if isinstance(name, str | Path)), path)
    words = WORDS.get(error.errno) or (path and " ".join((error.strerror or str(error)).lower().split()))
    return f"{show_path(named)}: {words}" if named is not None and words else None


def advise_os_error(error: OSError) -> UserError | None:
    """What is wrong with a path, and what to do; None if the error names no path, and so may be a bug."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    names = (error.filename2, error.filename) if is_full else (error.filename, error.filename2)  # the second is written
    named = next((show_path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes | Path)), None)
    if is_full or error.errno == errno.EROFS:
        return UserError(f"{named or 'output'}: {WORDS[error.errno]}")
    if isinstance(error, PermissionError):
        return UserError(f"{named}: permission denied; check its owner and write permission")
    if named is None or error.errno in (None, errno.ENOMEM, errno.EAGAIN):
        return None
    what = (error.strerror or os.strerror(error.errno)).lower()
    return UserError(f"{named}: {what}; {ADVICE.get(error.errno, ANY_ADVICE)}")
