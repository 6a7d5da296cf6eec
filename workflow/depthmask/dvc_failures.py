"""What keeps DVC from comparing or storing files, as one line: DVC's commands print one, and Snakemake a traceback."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.file_errors import advise_os_error
from depthmask.base.paths import find_unfit, name_special, show_path

SOURCE = Path(__file__).parents[1]
MORE = "`dvc status` may say more"


@contextlib.contextmanager
def report_dvc_errors(inputs: Iterable[str] = (), leave: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within the block, whatever DVC raises becomes a UserError of one line; bugs of our own code, and `leave`, pass.

    inputs: as for `explain_dvc_error`; may be filled within the block.
    """
    try:
        yield
    except (UserError, *leave):
        raise
    except Exception as error:
        explained = explain_dvc_error(error, inputs)
        if explained is None:
            raise
        raise explained from error


def explain_dvc_error(error: Exception, inputs: Iterable[str]) -> UserError | None:
    """The line for an exception raised by DVC; None if it was raised by our own code, and so is a bug.

    inputs: files and folders that the graph depends on.
    """
    if _is_raised_here(error):
        return None
    if isinstance(error, UnicodeError):
        for path in inputs:
            for found, fault in find_unfit(path):
                return UserError(f"{found}: {fault}")
    if isinstance(error, OSError):
        name = error.filename2 or error.filename
        if isinstance(name, str) and (special := name_special(name)) is not None:
            return UserError(f"{show_path(name)}: is {special}, not a file; remove it, or put a file in its place")
        if (advised := advise_os_error(error)) is not None:
            return advised
    text = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"dvc.yaml: {show_path(text)}; {MORE}")


def require_writable_cache(repo: Any) -> None:
    """Raise UserError if DVC could not store what the stages of a `dvc.repo.Repo` make; otherwise they would run for nothing."""
    odb = repo.cache.local
    for folder in (Path(odb.path), Path(repo.cache.local_cache_dir, "runs")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"{show_path(os.path.relpath(folder))}: DVC's cache cannot be written ({reason}); make it writable, or choose"
                " another with dvc cache dir"
            ) from error


def require_replaceable(repo: Any, outputs: Iterable[str]) -> None:
    """Raise UserError for an output that DVC linked to its cache and so write-protected: Snakemake would refuse its job.

    outputs: of stages that are to run; files within folders are looked at only if the cache of `repo` is linked.
    """
    linked = [kind for kind in repo.cache.local.cache_types if kind in ("hardlink", "symlink")]
    if not linked:
        return
    for output in outputs:
        for path in (Path(output), *Path(output).rglob("*")):
            if path.exists() and not os.access(path, os.W_OK):
                raise UserError(
                    f"{show_path(path)}: is write-protected, because it is a link to DVC's cache (cache.type {linked[0]}), so"
                    " Snakemake would not replace it; run: dvc config --local cache.type reflink,copy && dvc checkout --relink"
                )


def _is_raised_here(error: Exception) -> bool:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and Path(last.tb_frame.f_code.co_filename).is_relative_to(SOURCE)
