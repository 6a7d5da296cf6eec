"""Mistakes that a user can mend, told in one line, and the wrapper that tells them."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable

PARAMS_EXIT_CODE = 2


class UserError(Exception):
    """What is wrong, where (file or key), and what to do; printed without a traceback."""

    exit_code = 1


class ParamsError(UserError):
    """params.yaml cannot be used; nothing was read or written before this was raised."""

    exit_code = PARAMS_EXIT_CODE


class Interrupted(UserError):
    """The run was asked to stop and has saved what it needs to go on."""

    exit_code = 143  # 128 + SIGTERM, as a shell reports it


def print_errors_as_lines(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap a script's `main(argv)`: a mistake of the user's becomes one line on stderr and an exit code."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except UserError as error:
            return _tell(str(error), error.exit_code)
        except KeyboardInterrupt:
            return _tell("stopped by Ctrl-C", 130)
        except PermissionError as error:
            return _tell(f"{error.filename}: permission denied; check who owns it and who may write there", 1)
        except OSError as error:
            if error.errno == errno.EROFS:
                return _tell(f"{error.filename or 'output'}: is on a read-only disk; choose another folder", 1)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = error.filename2 or error.filename or "output"  # of a copy, the second is what was being written
            return _tell(f"{full}: the disk is full; free some space and run the same command again", 1)

    return run


def _tell(message: str, exit_code: int) -> int:
    print("error: " + " ".join(message.split("\n")), file=sys.stderr, flush=True)
    return exit_code
