"""Encoders of `timm` and `transformers`: what they are built from, their published weights, and what is known of those.

Weights come from the Hugging Face Hub, or its cache, or a folder with the files that a repository there has:

config.json                 the architecture
model.safetensors           the weights; others can contain code and are not read
preprocessor_config.json    transformers: how images are normalised; without it as for ImageNet
README.md                   its first lines name the licence
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import validate_path
from depthmask.catalog.hub import fetch_repository, read_settings
from depthmask.encoders import make_encoder
from depthmask.models.model_card import EncoderCard, Triple
from depthmask.models.model_file import check_tensors
from depthmask.registry.encoders import EncoderName, parse_encoder

KEY = "model.encoder"
CONFIG, WEIGHTS, PREPROCESSOR, README = "config.json", "model.safetensors", "preprocessor_config.json", "README.md"
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNKNOWN_LICENCE = "unknown"
LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]{1,60})", re.MULTILINE)
# not in published files, and the same whatever the seed, or of no use to whole images
MAY_LACK = re.compile(r"(.*\.)?(mask_token|hidden_states_norms\..*)")


@dataclass(frozen=True)
class LibraryEncoder:
    """An encoder of another library. config: what it is built from.

    tensors, card, image_mean, image_std: its weights, where they are from, and how they know images (of RGB 0..1); all None
    without weights.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor] | None = None
    card: EncoderCard | None = None
    image_mean: Triple | None = None
    image_std: Triple | None = None


def find_library_encoder(text: str, with_weights: bool) -> LibraryEncoder:
    """What an encoder is built from and its published weights; text: a value of `model.encoder`.

    Raises:
        UserError: the package is not installed; there is no such encoder; or its files are missing, damaged, or lack weights.
    """
    name = parse_encoder(text)
    try:
        found = (_find_in_timm if name.library == "timm" else _find_in_transformers)(name, with_weights)
        if found.tensors is not None:
            with torch.device("meta"):
                check_tensors(found.tensors, make_encoder(text, found.config).state_dict())
    except ValueError as error:
        raise UserError(f"{KEY}: {text}: {error}") from error
    return found


def _find_in_timm(name: EncoderName, with_weights: bool) -> LibraryEncoder:
    from depthmask.encoders.timm_backbone import check_architecture, find_arguments, import_timm

    timm = import_timm()
    if name.is_folder:
        values = _read_settings(Path(name.name), CONFIG)
        architecture, stated = check_architecture(values.get("architecture")), values.get("pretrained_cfg") or {}
    else:
        architecture, _, tag = name.name.partition(".")
        check_architecture(architecture)
        try:
            stated = timm.get_pretrained_cfg(name.name, allow_unregistered=False).to_dict()
        except RuntimeError as error:
            known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
            raise ValueError(f"timm has no weights {tag}; it has: {known}") from error
    arguments, _ = find_arguments(architecture)
    found = LibraryEncoder({"architecture": architecture})
    if not with_weights:
        return found
    if not name.is_folder and not stated.get("hf_hub_id"):
        raise ValueError("timm knows no weights of it on the Hugging Face Hub; set model.encoder_weights: none")
    folder, source = _find_folder(name, stated.get("hf_hub_id"), [WEIGHTS, README])
    tensors = _load_timm(architecture, folder / WEIGHTS, arguments)
    return _describe(found.config, tensors, folder, f"timm {timm.__version__}: {source}", stated, ("mean", "std", "license"))


def _load_timm(architecture: str, path: Path, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file as the encoder has them; ValueError where it lacks some, which differ from seed to seed."""
    from depthmask.encoders.timm_backbone import create

    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        try:
            backbone = create(architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)
        except Exception as error:  # what the loaders of a hundred architectures raise has no common class
            raise ValueError(" ".join(f"{path} cannot be loaded ({type(error).__name__}: {error}".split())[:250] + ")") from error
        made.append(backbone.state_dict())
    missing = [name for name, tensor in made[0].items() if not torch.equal(tensor, made[1][name])]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} of the encoder's weights, as {min(missing)}; choose others")
    return _name_tensors(made[0])


def _find_in_transformers(name: EncoderName, with_weights: bool) -> LibraryEncoder:
    from depthmask.encoders.transformers_backbone import import_transformers, read_config

    import_transformers()
    patterns = [CONFIG, PREPROCESSOR, README, *([WEIGHTS] if with_weights else [])]
    folder, source = _find_folder(name, name.name, patterns)
    config = read_config(_read_settings(folder, CONFIG))
    if not with_weights:
        make_encoder(f"transformers:{name.name}@x" if not name.is_folder else f"transformers:{name.name}", config)
        return LibraryEncoder(config)
    stated = _read_settings(folder, PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    if stated.get("do_normalize", True) is False:
        stated = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    return _describe(config, _load_transformers(config, folder), folder, source, stated, ("image_mean", "image_std", "license"))


def _load_transformers(config: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    from depthmask.encoders.transformers_backbone import load

    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"has no {WEIGHTS}; other weights can contain code and are not read: choose another")
    backbone, missing = load(config, folder)
    missing = [name for name in missing if not MAY_LACK.fullmatch(name)]
    if missing:
        raise ValueError(f"{folder / WEIGHTS} lacks {len(missing)} of the encoder's weights, as {min(missing)}; choose others")
    return _name_tensors(backbone.state_dict())


def _find_folder(name: EncoderName, repository: str | None, patterns: list[str]) -> tuple[Path, str]:
    """The folder with an encoder's files, and what to call it."""
    if not name.is_folder:
        folder = fetch_repository(repository, name.revision, patterns, KEY, KEY)
        return folder, f"{repository}@{folder.name}"
    folder = Path(name.name)
    if not folder.is_dir():
        hub = "; a repository of the Hugging Face Hub is written OWNER/NAME@REVISION" if name.library == "transformers" else ""
        raise ValueError(f"no such folder{hub}; correct it")
    for pattern in patterns:
        if (folder / pattern).exists():
            validate_path(folder / pattern)
    return folder, name.name


def _read_settings(folder: Path, file: str) -> dict[str, Any]:
    path = folder / file
    if not path.is_file():
        raise ValueError(f"{folder} has no {file}; correct it")
    try:
        return read_settings(path)
    except ValueError as error:
        raise ValueError(f"{error}; fetch it again") from error


def _describe(
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    folder: Path,
    source: str,
    stated: Mapping[str, Any],
    keys: tuple[str, str, str],
) -> LibraryEncoder:
    """keys: of the mean, the standard deviation and the licence in what its files or its library state."""
    mean, std, licence = (stated.get(key) for key in keys)
    licence = licence if isinstance(licence, str) and LICENCE.match(f"license: {licence}") else _read_licence(folder)
    card = EncoderCard("pretrained", source, licence, hash_file(folder / WEIGHTS))
    triples = [_read_triple(value, usual) for value, usual in zip((mean, std), IMAGENET, strict=True)]
    return LibraryEncoder(config, tensors, card, *triples)


def _read_triple(value: Any, usual: Triple) -> Triple:
    if value is None:
        return usual
    if not (isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(one, int | float) for one in value)):
        raise ValueError(f"is not made for RGB images: it normalises them by {str(value)[:100]}; choose another")
    return tuple(float(one) for one in value)


def _read_licence(folder: Path) -> str:
    """The licence that the first lines of a repository's README name."""
    path = folder / README
    if not path.is_file():
        return UNKNOWN_LICENCE
    _, _, head = path.read_text("utf-8", errors="replace").partition("---")
    found = LICENCE.search(head.partition("\n---")[0])
    return found[1] if found else UNKNOWN_LICENCE


def _name_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the names that the adapters of `depthmask.encoders` have."""
    return {f"backbone.{name}": tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
