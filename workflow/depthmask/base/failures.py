"""Turns library exceptions about limits of the machine into one line that names the keys to lower.

They are recognised by type name and message, because nothing here imports numpy, torch or OpenCV. Anything unknown is treated
as a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable

from depthmask.base.errors import UserError
from depthmask.base.paths import SURROGATES, show_path

# stage or command: the keys that decide how much memory it needs
KEYS = {
    "download": "download.pseudo_labels's batch_size or image_size_px",
    "pack": "image_size_px of pretrain, finetune and evaluate, or DEPTHMASK_WORKERS",
    "split": "split.fraction",
    "pretrain": "pretrain.batch_size, pretrain.image_size_px, pretrain.validation_samples or model.width",
    "finetune": "finetune.batch_size, finetune.image_size_px, finetune.validation_samples or model.width",
    "evaluate": "evaluate.batch_size, evaluate.image_size_px, evaluate.num_samples or evaluate.baseline_samples",
    "evaluate_other": "evaluate.batch_size, evaluate.image_size_px, or num_samples of the set in evaluate.more",
    "report": "evaluate.num_samples, evaluate.num_shown or report.num_worst",
    "leaderboard.train": "batch_size_max or image_size_max_px",
    "cross_validation.train": "batch_size, image_size_px or validation_samples of pretrain and finetune, or model.width",
    "cross_validation.score": "evaluate.batch_size, evaluate.image_size_px or evaluate.num_samples",
    "cross_validation.split": "split.fraction",
    "trials": "batch_size, image_size_px, validation_samples or model.width, in fixed or space, or score_images",
    "sweep.train": "batch_size, image_size_px, validation_samples or model.width, in fixed or space",
    "sweep.score": "score_images, or evaluate.batch_size in fixed",
    "leaderboard.score": "evaluate.batch_size or evaluate.num_samples",
    "lr_range": "batch_size, image_size_px or model.width",
    "predict": "--size-px",
}
ANY_KEYS = "the sizes of images and batches"
OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|Insufficient memory|Unable to allocate|Cannot allocate memory"
    r"|bad_alloc|OutOfMemoryError|_ArrayMemoryError|MemoryError|failed to allocate|unable to mmap"
    r"|could not create a (?:primitive|memory object)$",  # oneDNN, whose other messages are about unsupported operations
    re.IGNORECASE,
)
ASKED = re.compile(r"(?:tried|Unable) to allocate ([\d.]+) ?(bytes|[KMGTPE]i?B)", re.IGNORECASE)
TOOLS = {
    "dvc": "DVC",
    "dvc_data": "DVC",
    "dvc_objects": "DVC",
    "scmrepo": "git",
    "pygit2": "git",
    "_pygit2": "git",
    "dulwich": "git",
}
NO_SIZE = re.compile(r"\.empty\(\)|dsize|inv_scale|SHRT_MAX|total\(\) > 0")  # OpenCV's assertions about sides of 0 or of 32767 px


def explain_failure(error: BaseException, stage: str) -> UserError | None:
    """What a user can do about an exception in `stage` (or a command); None if it is not known."""
    kind, text = type(error).__name__, str(error)
    module = type(error).__module__.partition(".")[0]
    keys = KEYS.get(stage, ANY_KEYS)
    if is_lack_of_memory(error):
        return UserError(f"{stage}: not enough memory{_name_asked(text)}; lower {keys}")
    if "can't start new thread" in text or (isinstance(error, OSError) and error.errno == errno.EAGAIN):
        return UserError(f"{stage}: cannot start another process or thread; lower compute.threads or DEPTHMASK_WORKERS")
    if "Expected more than 1 value per channel" in text:
        return UserError(
            f"{stage}: batch norm needs more than one value of each channel; raise batch_size, image_size_px or"
            " DEPTHMASK_MICRO_BATCH"
        )
    if isinstance(error, OverflowError) or "OverflowError" in kind:
        return UserError(f"{stage}: a number is too large to compute with ({_shorten(text)}); lower {keys}")
    if isinstance(error, UnicodeEncodeError) and SURROGATES.search(error.object):
        return UserError(f"{stage}: {show_path(error.object)}: a name that is not UTF-8; rename it")
    if module in TOOLS and isinstance(error, Exception):
        return UserError(
            f"{stage}: {TOOLS[module]}: {' '.join(text.split())[:300] or kind}; `dvc status` or `git status` may say more"
        )
    if module == "cv2" and NO_SIZE.search(text):
        return UserError(
            f"{stage}: an image has a side of 0 px, or one too large for OpenCV ({_shorten(text)});"
            " check compose.field_of_view_deg, compose.scale_min and the image sizes"
        )
    return None


def name_stage(main: Callable) -> str:
    """The stage of a `main`: `pretrain` for stages/pretrain.py, also when run as a script; `leaderboard.train` in a folder."""
    module = sys.modules.get(main.__module__)
    spec = getattr(module, "__spec__", None)
    name = spec.name if spec is not None else main.__module__
    return name.partition("stages.")[2] or name.rpartition(".")[2]


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether memory ran out in numpy, torch, oneDNN, OpenCV or the system."""
    kind = type(error).__name__
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or kind in ("OutOfMemoryError", "_ArrayMemoryError"):
        return True
    is_of_library = isinstance(error, RuntimeError) or kind == "error"  # torch and its loader; OpenCV
    return is_of_library and OUT_OF_MEMORY.search(str(error)) is not None


def _name_asked(text: str) -> str:
    """` for another 1.1 GB` if the error says how much was requested at once, else nothing."""
    found = ASKED.search(text)
    if found is None:
        return ""
    number, unit = found.groups()
    scale = 1 if unit == "bytes" else 2 ** (10 * (1 + "kmgtpe".index(unit[0].lower())))
    return f" for another {float(number) * scale / 1e9:,.2g} GB"


def _shorten(text: str) -> str:
    """The last line of the error, without version and source location."""
    lines = text.strip().splitlines()
    return re.sub(r"^OpenCV\([^)]*\) \S+ error: ", "", lines[-1] if lines else "").strip()[:160]
