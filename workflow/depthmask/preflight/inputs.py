"""Checks where data and weights come from: the named set, the pseudo-label model, and the files of input folders and weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from depthmask.base.credentials import list_unset
from depthmask.base.errors import ParamsError, UserError
from depthmask.base.paths import find_unfit
from depthmask.catalog.model_folder import find_model
from depthmask.catalog.named_sets import find_set
from depthmask.catalog.weights_files import list_weights_files, require_local_file
from depthmask.params import DownloadParams, ModelParams, Params, find_fault_of_background
from depthmask.params.data import LAYOUTS
from depthmask.params.mixture import name_keys
from depthmask.params.other_sets import key_all_sources
from depthmask.registry.encoders import EXTRA, parse_encoder
from depthmask.registry.networks import NETWORKS


def check_origin(params: Params, where: str) -> None:
    """Check the named set, the pseudo-label model, the encoder and the input files; `where` names the file in the error.

    Raises:
        ParamsError: the named set is unknown or lacks what the network needs; the pseudo-label model is missing or does not
            fit; the encoder's package or folder is missing; or a file of weights is missing, or another one than params.yaml
            says.
    """
    sources = key_all_sources(params)
    for key, source in sources.items():
        with name_keys(key):
            require_background(source, params.model, where, key)
            require_pseudo_label_model(source, where, key)
    require_encoder(params.model, where)
    require_files(params, where)
    require_weights(params.model, where)
    for key, source in sources.items():
        for name in list_unset(source.urls):  # not an error: the data may have been fetched already
            from depthmask.base.terminal import warn  # late: a check prints nothing else

            warn(f"{key}.urls: env:{name}: the environment variable {name} is not set; set it before the data are fetched")


def require_encoder(model: ModelParams, where: str) -> None:
    """Raise ParamsError if the network's encoder is of a package that is not installed, or of a folder that is missing."""
    if not NETWORKS[model.name].has_encoder:
        return
    name = parse_encoder(model.encoder)
    if name.library is not None and importlib.util.find_spec(name.library) is None:
        needs = f"needs the package {name.library}, which is not installed; {EXTRA}, or choose another encoder"
        raise ParamsError(f"{where}: model.encoder: {model.encoder} {needs}")
    if name.is_folder and not Path(name.name).is_dir():
        other = "NAME of one of its models" if name.library == "timm" else "OWNER/NAME@REVISION of the Hugging Face Hub"
        raise ParamsError(f"{where}: model.encoder: {name.name}: no such folder; allowed: a folder, or {other}")


def require_files(params: Params, where: str) -> None:
    """Raise ParamsError for inputs that DVC, which hashes every file, waits for forever (pipes) or cannot name (not UTF-8)."""
    inputs = {}
    for section, download in key_all_sources(params).items():
        if not download.urls and download.source in LAYOUTS:
            inputs[f"{section}.path"] = download.path
        if download.pseudo_labels is not None and Path(download.pseudo_labels.model).is_dir():
            inputs[f"{section}.pseudo_labels.model"] = download.pseudo_labels.model
    for key in ("photos", "ensemble"):
        folder = getattr(params.evaluate, key, None)  # the leaderboard has no such keys
        if folder is not None:
            inputs[f"evaluate.{key}"] = folder
    for key, folder in inputs.items():
        for path, fault in find_unfit(folder):
            raise ParamsError(f"{where}: {key}: {path}: {fault}")


def require_background(download: DownloadParams, model: ModelParams, where: str, key: str = "download") -> None:
    """Raise ParamsError if the network needs clean backgrounds and the named set has none."""
    if download.source in LAYOUTS:
        return  # the schema checks that
    try:
        named = find_set(Path(download.path), download.source, LAYOUTS)
    except UserError as error:
        raise ParamsError(f"{where}: {error}") from error
    unfit = find_fault_of_background(model, download, key, layout=named.layout)
    if unfit:
        raise ParamsError(f"{where}: {unfit}")


def require_pseudo_label_model(download: DownloadParams, where: str, key: str = "download") -> None:
    """Raise ParamsError if the pseudo-label model's package or configuration is missing or wrong, or nothing needs labels."""
    if download.pseudo_labels is None:
        return
    try:
        find_model(download, with_weights=False)
    except UserError as error:
        raise ParamsError(f"{where}: {error}") from error
    depths = Path(download.path) / "bg_depth"
    if download.source == "assets" and not download.urls and depths.is_dir():
        raise ParamsError(f"{where}: {key}.pseudo_labels: {depths} has depth maps already; allowed: null")


def require_weights(model: ModelParams, where: str) -> None:
    """Raise ParamsError if a file of weights on this machine is missing or another one; fetched files are checked later."""
    for key, file in list_weights_files(model).items():
        if file.path is not None:
            try:
                require_local_file(key, file)
            except UserError as error:
                raise ParamsError(f"{where}: {error}") from error
