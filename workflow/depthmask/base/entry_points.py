"""The wrapper around every script's `main`: a user's mistake ends in one line and an exit code, never in a traceback."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import sys
from collections.abc import Callable

from depthmask.base.errors import Interrupted, UserError
from depthmask.base.failures import explain_failure, name_stage
from depthmask.base.file_errors import advise_os_error
from depthmask.base.stop_signals import find_number, name_signal, raise_terminated
from depthmask.base.stored_run import note_start, store_run
from depthmask.base.streams import flush_output, prepare_streams


def print_errors_as_lines(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's `main(argv)`: a user's mistake becomes one or two lines on stderr and an exit code."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        prepare_streams()
        try:
            start = note_start()
            with raise_terminated():
                code = main(*args, **kwargs) or 0
                if start is not None and code == 0:
                    store_run(start)
            flush_output()
            return code
        except SystemExit:  # argparse's, after --help
            return _end_with_output()
        except UserError as error:
            return print_error(error)
        except KeyboardInterrupt as error:
            number = find_number(error)
            return print_error(Interrupted(f"stopped by {name_signal(number)}; rerun the same command to start over", number))
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
        explained = advise_os_error(error)
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
    return (isinstance(error, OSError) and advise_os_error(error)) or explain_failure(error, name_stage(main))
