"""The wrapper around every script's `main`: a user's mistake ends in one line and an exit code, never in a traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import sys
from collections.abc import Callable

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.failures import explain_failure, name_stage
from depthmask.base.orphans import Terminated, raise_terminated
from depthmask.base.streams import flush_output, prepare_streams

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
}


def print_errors_as_lines(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's `main(argv)`: a user's mistake becomes one or two lines on stderr and an exit code."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        prepare_streams()
        try:
            with raise_terminated():
                code = main(*args, **kwargs) or 0
            flush_output()
            return code
        except SystemExit:  # argparse's, after --help
            return _end_with_output()
        except UserError as error:
            return print_error(error)
        except Terminated:
            return print_error(Interrupted("stopped by SIGTERM; rerun the same command to start over", signal.SIGTERM))
        except KeyboardInterrupt:
            return print_error(Interrupted("stopped by Ctrl-C; rerun the same command to start over", signal.SIGINT))
        except BrokenPipeError:
            _give_up_output()
            return 128 + signal.SIGPIPE
        except Exception as error:
            explained = _explain(error, main)
            if explained is None:
                raise
            with contextlib.suppress(OSError):
                flush_output()
            return print_error(explained)

    return run


def print_error(error: UserError) -> int:
    """Report an error on standard error, and return the exit code."""
    from depthmask.base.terminal import print_error_line  # late: most runs, and the Snakefiles, need no console for this

    print_error_line(error.message, error.hint)
    return error.exit_code


def _end_with_output() -> int:
    """Re-raise the SystemExit being handled, or return an exit code if the output could not be written."""
    try:
        flush_output()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except OSError as error:
        explained = _explain_disk(error)
        if explained is not None:
            return print_error(explained)
    raise sys.exception()


def _give_up_output() -> None:
    """The reader of standard output, such as `head`, has closed it. If another pipe broke, re-raise the error."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):  # reports errors only
        raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception, main: Callable) -> UserError | None:
    """What a user can do about a disk error or a limit of the machine; None for any other error."""
    return (isinstance(error, OSError) and _explain_disk(error)) or explain_failure(error, name_stage(main))


def _explain_disk(error: OSError) -> UserError | None:
    if isinstance(error, PermissionError):
        return UserError(f"{error.filename}: permission denied; check its owner and write permission")
    if error.errno == errno.EROFS:
        return UserError(f"{error.filename or 'output'}: is on a read-only disk; choose another folder")
    if error.errno in ADVICE and error.filename:
        what = (error.strerror or os.strerror(error.errno)).lower()
        return UserError(f"{os.fsdecode(error.filename)}: {what}; {ADVICE[error.errno]}")
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    full = error.filename2 or error.filename or "output"  # for a copy, the second is the file being written
    return UserError(f"{full}: the disk is full; free some space and rerun the same command")
