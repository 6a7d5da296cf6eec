"""What predicting photos and clips has in common: the folder of the results, predictions.json, and the process."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthmask.base.errors import UserError
from depthmask.base.files import format_json, replace_file
from depthmask.base.paths import KINDS, NO_SUCH_FILE, find_fault_of_file, is_folder, show_path
from depthmask.serving.selection import Selected

if TYPE_CHECKING:
    from depthmask.serving.each_photo import Models

MODEL = Path("data/models/finetune.safetensors")
INDEX = "predictions.json"


def validate_out(out: Path) -> None:
    """Raise UserError, before any work, if no folder can be created at `out`."""
    for path in (out, *out.parents):
        fault = find_fault_of_file(path)
        if fault == NO_SUCH_FILE:
            continue
        if fault != KINDS[stat.S_IFDIR]:
            fault = fault or "is a file"
            what = f"{fault}, not a folder" if path == out else f"{show_path(path)} {fault}"
            raise UserError(f"--out {show_path(out)}: {what}; choose another folder")
        if not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"--out {show_path(out)}: no permission to write in {show_path(path)}; choose another folder")
        break
    if is_folder(out / INDEX):
        raise UserError(f"{show_path(out / INDEX)}: is a folder, in the place of {INDEX}; move it away, or choose another --out")


@contextlib.contextmanager
def hold_index(out: Path, photos: Sequence[Selected]) -> Iterator[Callable[[dict], None]]:
    """Create the folder, and reserve disk space for predictions.json, so that it can be written even if the disk is full by then.

    If the disk is already full, the created folders are removed again.
    """
    missing = [path for path in (out, *out.parents) if not path.exists()]
    try:
        with replace_file(out / INDEX) as part:
            with part.open("wb") as room:
                _reserve(room.fileno(), 4096 + sum(1024 + 8 * len(os.fsencode(photo.path)) for photo in photos))

            def write(index: dict) -> None:
                with part.open("r+b") as data:  # in the reserved space
                    data.write(format_json(index).encode(errors="backslashreplace"))
                    data.truncate()

            yield write
    except BaseException:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def _reserve(descriptor: int, num_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not supported by every file system
                raise


def describe_call(args: argparse.Namespace, models: Models) -> dict:
    """The content of predictions.json besides the photos."""
    from depthmask.serving.models_of_call import describe_models
    from depthmask.serving.pictures import declare_depth

    return {
        "models": describe_models(models),
        "flip": args.flip,
        "mask": {"kind": "hard" if args.hard else "alpha", "raw_max": 255},
        "depth": declare_depth(next(iter(models.predictors.values()))),
    }


def read_prediction_options(args: argparse.Namespace) -> dict[str, Any]:
    """The command's options that `load` takes."""
    return {name: getattr(args, name) for name in ("device", "size_px", "mask_size_px", "flip", "engine")}


def claim_process(num_threads: int | None) -> None:
    """Set threads and memory of the process, which belongs to the command; None: torch's default number of threads."""
    import torch

    from depthmask.compute.memory import keep_freed_memory
    from depthmask.compute.openmp import claim_threads, find_thread_limit

    # not more than possible, or the first photo would wait for them forever
    claim_threads(num_threads or min(torch.get_num_threads(), find_thread_limit() or torch.get_num_threads()), "--threads")
    keep_freed_memory()
