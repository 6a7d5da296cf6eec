"""The pseudo-label model's files, and what it predicts, by its configuration alone: torch and transformers are not imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from depthmask.base.errors import UserError, format_install_command
from depthmask.base.paths import validate_path
from depthmask.catalog.hub import fetch_repository, read_settings
from depthmask.params import DownloadParams

PACKAGE, INSTALL = "transformers", format_install_command("pseudo-labels")
KEY = "download.pseudo_labels"
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "*.safetensors"
NETWORKS = {"depth_anything": "DepthAnythingForDepthEstimation", "dpt": "DPTForDepthEstimation"}
# the settings that are read, and their types
SETTINGS = {"model_type": str, "architectures": list | None, "backbone_config": dict | None, "patch_size": int}
PROCESSOR = "DPTImageProcessor"  # also used by Depth Anything; the variant named ...Fast has the same settings

Gives = Literal["disparity", "metres"]
# the download.depth that fits each kind of prediction
DEPTH_OF = {
    "disparity": {"unit": "relative", "polarity": "near_is_large"},
    "metres": {"unit": "metre", "polarity": "near_is_small"},
}


@dataclass(frozen=True)
class ModelFolder:
    """The files of a pseudo-label model. revision: their commit; None for a local folder."""

    path: Path
    revision: str | None
    gives: Gives
    patch_px: int


def find_model(download: DownloadParams, with_weights: bool = True) -> ModelFolder:
    """The model's folder, fetched if it is on the Hub, after checking that it fits `download`.

    with_weights=False: fetch only the configuration of a Hub model, a few kilobytes.

    Raises:
        UserError: the package is not installed; the model cannot be fetched, is not a supported depth network, or has no weights
            that can be read safely; or it predicts another kind of depth than download.depth says.
    """
    wanted = download.pseudo_labels
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(f"{KEY}: needs the package {PACKAGE}, which is not installed; {INSTALL}, or set it to null")
    folder, revision = Path(wanted.model), None
    if not folder.is_dir():
        patterns = [CONFIG, PREPROCESSOR, *([WEIGHTS, f"{WEIGHTS}.index.json"] if with_weights else [])]
        folder = fetch_repository(wanted.model, wanted.revision, patterns, f"{KEY}.model", f"{KEY}.revision")
        revision = folder.name
    elif wanted.revision is not None:
        raise UserError(f"{KEY}.revision: {wanted.revision}, but {folder} is a folder, which has none; allowed: null")
    for name in (CONFIG, PREPROCESSOR, WEIGHTS):
        for path in folder.glob(name):
            validate_path(path)
    found = _describe(folder, revision, wanted.model)
    if (with_weights or revision is None) and not any(folder.glob(WEIGHTS)):
        offline = " (in the cache, if the Hub cannot be reached)" if revision else ""
        raise UserError(
            f"{KEY}.model: {wanted.model} has no {WEIGHTS} file{offline}; other weights can contain"
            " code and are not read: choose another model"
        )
    _require_fitting_depth(download, found.gives)
    return found


def _describe(folder: Path, revision: str | None, model: str) -> ModelFolder:
    config, processor = _read(folder / CONFIG, model), _read(folder / PREPROCESSOR, model)
    kind, architectures = config.get("model_type"), list(map(str, config.get("architectures") or []))
    where = f"{KEY}.model: {model}"
    if NETWORKS.get(kind) not in architectures:
        raise UserError(
            f"{where}: is not a supported depth network (model_type: {kind}, architectures: {', '.join(architectures)});"
            f" allowed: {', '.join(NETWORKS.values())}"
        )
    if processor.get("image_processor_type", processor.get("feature_extractor_type")) not in (
        PROCESSOR,
        f"{PROCESSOR}Fast",
        "DPTFeatureExtractor",
    ):
        raise UserError(f"{where}: its {PREPROCESSOR} is not for a {PROCESSOR}; choose another model")
    backbone = (config.get("backbone_config") or {}).get("model_type")
    if kind == "dpt" and backbone == "dinov2":
        raise UserError(
            f"{where}: a DPT on DINOv2, whose configuration does not say whether it predicts metres or disparity;"
            " allowed: Depth Anything, or a DPT of the MiDaS family"
        )
    metric = kind == "depth_anything" and config.get("depth_estimation_type", "relative") == "metric"
    return ModelFolder(folder, revision, "metres" if metric else "disparity", int(config.get("patch_size", 16)))


def _read(path: Path, model: str) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{KEY}.model: {model} has no {path.name}, so it is not a {PACKAGE} model; choose another")
    try:
        values = read_settings(path)
    except ValueError as error:
        raise UserError(f"{error}; fetch the model again") from error
    for key, kind in SETTINGS.items():
        if key in values and not isinstance(values[key], kind):
            raise UserError(f"{path}: {key}: invalid value; fetch the model again")
    return values


def _require_fitting_depth(download: DownloadParams, gives: Gives) -> None:
    wanted = DEPTH_OF[gives]
    if any(getattr(download.depth, key) != value for key, value in wanted.items()):
        said, fitting = (
            ", ".join(f"{key}: {value}" for key, value in pairs)
            for pairs in (((key, getattr(download.depth, key)) for key in wanted), wanted.items())
        )
        raise UserError(
            f"download.depth: {{{said}}}, but {download.pseudo_labels.model} predicts"
            f" {'metres' if gives == 'metres' else 'disparity without a scale'}; allowed with it: {{{fitting}}}"
        )
