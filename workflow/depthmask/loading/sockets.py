"""Gives loader processes a folder for their sockets whose path is short enough.

torch hands batches over through sockets in multiprocessing's temporary folder, and a socket's path has at most about a hundred
bytes. With a long TMPDIR, as schedulers and test runners set it, a thread would fail and training would hang.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path

PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103  # of the system's sun_path, without the NUL at its end
BELOW_TMPDIR = "/pymp-12345678/listener-12345678"  # how multiprocessing names folder and socket
TMPDIR_BYTES_MAX = PATH_BYTES_MAX - len(BELOW_TMPDIR)
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def prepare_socket_folder() -> None:
    """With a long TMPDIR, make the folder for sockets elsewhere, for this process and the workers that it will start.

    Only its owner may enter it; multiprocessing removes it when this process ends.

    Raises:
        UserError: no other folder can be written.
    """
    usual = tempfile.gettempdir()
    if is_short(usual):
        return
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), *SHORT_FOLDERS):
        if Path(folder).is_absolute() and is_short(folder):
            with contextlib.suppress(OSError), _make_temporary_files_in(folder):
                get_temp_dir()  # the first call decides
                return
    raise UserError(
        f"environment: TMPDIR={show_path(usual)} is too long for the sockets of data-loader workers; set it to a folder of at"
        f" most {TMPDIR_BYTES_MAX} bytes, or DEPTHMASK_WORKERS=0"
    )


def is_short(folder: str) -> bool:
    """Whether sockets can be made in a temporary folder."""
    return len(os.fsencode(folder)) <= TMPDIR_BYTES_MAX


@contextlib.contextmanager
def _make_temporary_files_in(folder: str) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
