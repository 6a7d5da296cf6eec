"""What can be said against params before data are touched, beyond their schema: it takes the list of sets, or the teacher."""

from __future__ import annotations

from pathlib import Path

from depthmask.base.credentials import list_unset
from depthmask.base.errors import ParamsError, UserError
from depthmask.base.paths import find_special, name_special
from depthmask.origins.model_folder import find_model
from depthmask.origins.named_sets import find_set
from depthmask.params import DownloadParams, ModelParams, Params, find_fault_of_background
from depthmask.params.data import LAYOUTS


def check_origin(params: Params, where: str) -> None:
    """Refuse a set or a teacher that cannot be used; `where` names the file in the error.

    Raises:
        ParamsError: the named set is unknown or lacks what the network needs, or the teacher cannot be had or does not fit.
    """
    require_background(params.download, params.model, where)
    require_teacher(params.download, where)
    require_files(params, where)
    for name in list_unset(params.download.urls):  # no error: what was fetched before may be what is asked for
        from depthmask.base.terminal import warn  # late: a check has nothing else to print

        warn(f"download.urls: env:{name}: the environment variable {name} is not set here; set it before the data are fetched")


def require_files(params: Params, where: str) -> None:
    """Refuse pipes and the like among the inputs: DVC, which hashes every file of them, would wait for a pipe for ever."""
    download, inputs = params.download, {}
    if not download.urls and download.source in LAYOUTS:
        inputs["download.path"] = download.path
    if download.depth_teacher is not None and Path(download.depth_teacher.model).is_dir():
        inputs["download.depth_teacher.model"] = download.depth_teacher.model
    photos = getattr(params.evaluate, "photos", None)  # a leaderboard's has none
    if photos is not None:
        inputs["evaluate.photos"] = photos
    for key, folder in inputs.items():
        for path in find_special(folder):
            what = name_special(path) or "no file"
            raise ParamsError(f"{where}: {key}: {path} is {what}; remove it, or put a file in its place")


def require_background(download: DownloadParams, model: ModelParams, where: str) -> None:
    """Refuse a named set of a layout without bare backgrounds, where the network is to have them."""
    if download.source in LAYOUTS:
        return  # the schema has looked at that
    try:
        named = find_set(Path(download.path), download.source, LAYOUTS)
    except UserError as error:
        raise ParamsError(f"{where}: {error}") from error
    unfit = find_fault_of_background(model, download, layout=named.layout)
    if unfit:
        raise ParamsError(f"{where}: {unfit}")


def require_teacher(download: DownloadParams, where: str) -> None:
    """Refuse a teacher whose package or configuration is not to be had or does not fit, or that has nothing to label."""
    if download.depth_teacher is None:
        return
    try:
        find_model(download, with_weights=False)
    except UserError as error:
        raise ParamsError(f"{where}: {error}") from error
    depths = Path(download.path) / "bg_depth"
    if download.source == "assets" and not download.urls and depths.is_dir():
        raise ParamsError(f"{where}: download.depth_teacher: {depths} has depth maps already; allowed: null")
