"""Encoders of Hugging Face's `transformers`: its backbones, and SegFormer's, which is none there; an optional package.

A configuration is what the package's own config.json says of the architecture. It may come with a model file from elsewhere: only
settings that a configuration of that kind has by itself are taken, with values that a network can have, and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from depthmask.base.errors import UserError
from depthmask.encoders.adapter import Adapter, probe
from depthmask.registry.encoders import EXTRA

SEGFORMER = "segformer"
NOT_TAKEN = {"timm_backbone", "tipsv2"}  # the first fetches weights of its own, the second is half a language model
# settings that say nothing of the architecture, or that are set here
DROPPED = {
    "architectures", "chunk_size_feed_forward", "dtype", "finetuning_task", "id2label", "is_encoder_decoder", "label2id",
    "num_labels", "out_features", "out_indices", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
    "stage_names", "torch_dtype", "transformers_version",
}  # fmt: skip
SETTINGS_MAX, LIST_MAX, TEXT_MAX, NESTING_MAX = 100, 256, 100, 5
NUMBER_MAX = 1 << 14  # of channels, pixels and the like: the largest published has 8,192 channels
LAYERS_MAX, COUNTS_LAYERS = 200, re.compile("layers|depth|blocks|stages")  # the time to check a configuration is quadratic
MODULES_MAX = 5_000  # the largest published has some 1,000


def import_transformers() -> ModuleType:
    """The package; raises UserError if it cannot be imported."""
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"model.encoder: transformers:... needs the package transformers, which cannot be imported ({error})",
            hint=f"{EXTRA}, or choose another encoder",
        ) from error
    return transformers


def list_kinds() -> list[str]:
    """The model types that are encoders."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES as BACKBONES  # late: takes seconds

    return sorted({*BACKBONES, SEGFORMER} - NOT_TAKEN)


def read_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an architecture, complete, from those of a config.json; settings of other things are left out.

    Raises:
        UserError: the package is not installed.
        ValueError: they are of no encoder, or no network can have them.
    """
    kind, kinds = values.get("model_type"), import_transformers() and list_kinds()
    if kind not in kinds:
        raise ValueError(f"model_type: {str(kind)[:TEXT_MAX]} is no encoder of transformers; allowed: {', '.join(kinds)}")
    defaults = _list_settings(kind)
    config = {key: value for key, value in values.items() if key in defaults}
    check_values(config)
    return _plain(_make_config(config).to_dict(), defaults)


def check_config(config: Mapping[str, Any]) -> None:
    """Raises ValueError unless these are settings as `read_config` returns them."""
    kind = config.get("model_type")
    if kind not in list_kinds():
        raise ValueError(f"its encoder's model_type: {str(kind)[:TEXT_MAX]} is no encoder of transformers")
    unknown = sorted(config.keys() - _list_settings(kind))
    if unknown:
        raise ValueError(f"its encoder's configuration has an unknown {unknown[0][:TEXT_MAX]}")
    check_values(config)


def check_values(config: Mapping[str, Any]) -> None:
    """Raises ValueError where a setting has a value that no network has: building it could take hours, or all memory."""
    if len(config) > SETTINGS_MAX:
        raise ValueError(f"its encoder's configuration has more than {SETTINGS_MAX} settings")
    for key, value in config.items():
        largest = LAYERS_MAX if COUNTS_LAYERS.search(key) else NUMBER_MAX
        for one in _list_leaves(value):
            is_number = isinstance(one, int | float) and math.isfinite(one) and abs(one) <= largest
            if not (one is None or is_number or (isinstance(one, str) and len(one) <= TEXT_MAX)):
                raise ValueError(f"its encoder's configuration: {key[:TEXT_MAX]}: {str(one)[:TEXT_MAX]} is impossible")


def _list_leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict) and len(value) <= LIST_MAX and depth < NESTING_MAX:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _list_leaves(one, depth + 1)
    else:
        yield value


def _list_settings(kind: str) -> set[str]:
    """The settings that a configuration of this kind has by itself."""
    names = import_transformers().CONFIG_MAPPING[kind]().to_dict().keys()
    return {name for name in names if name not in DROPPED and not name.startswith("_")}


def _make_config(config: Mapping[str, Any]) -> Any:
    settings = {key: value for key, value in config.items() if key != "model_type"}
    try:
        return import_transformers().CONFIG_MAPPING[config["model_type"]](**settings)
    except Exception as error:  # what its validators raise has no common class
        raise ValueError(" ".join(f"its encoder's configuration: {error}".split())[:200]) from error


def _plain(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(values.items()) if name in names}


class TransformersEncoder(Adapter):
    """A backbone with random weights; raises ValueError where its configuration is of none."""

    def __init__(self, config: Mapping[str, Any]):
        import_transformers()
        check_config(config)
        make = partial(create, config)
        super().__init__(make, run_backbone, probe(make, run_backbone, find_native_size(config)))


def create(config: Mapping[str, Any]) -> nn.Module:
    """The backbone of a configuration, with random weights; raises ValueError where there is none."""
    transformers = import_transformers()
    made = prepare_config(config)
    kind = transformers.AutoModel if config["model_type"] == SEGFORMER else transformers.AutoBackbone
    try:
        with limit_modules():
            return kind.from_config(made, attn_implementation="eager")  # the gradient of others is not always deterministic
    except Exception as error:  # what a hundred architectures raise has no common class; ImportError: of yet another package
        raise ValueError(" ".join(f"its encoder cannot be built: {type(error).__name__}: {error}".split())[:200]) from error


def load(config: Mapping[str, Any], folder: Path) -> tuple[nn.Module, list[str]]:
    """The backbone with the weights in a folder, and the names of those that the folder lacks, which are random.

    Raises:
        ValueError: they cannot be loaded.
    """
    transformers = import_transformers()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.device("meta"):
        kind = type(create(config))  # AutoBackbone itself would ask the Hub for a repository of the folder's name
    try:
        backbone, info = kind.from_pretrained(
            folder,
            config=prepare_config(config),
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
        )
    except Exception as error:  # what its many readers raise on damaged files has no common class
        raise ValueError(" ".join(f"{folder} cannot be loaded ({type(error).__name__}: {error}".split())[:250] + ")") from error
    return backbone, sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})


def prepare_config(config: Mapping[str, Any]) -> Any:
    """The package's own object, which asks for all maps but the stem's."""
    made = _make_config(config)
    if config["model_type"] != SEGFORMER:
        made.out_features = [name for name in getattr(made, "stage_names", ()) if name != "stem"]
    return made


def find_native_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """The height and width in pixels that an encoder was made for."""
    size = config.get("image_size") or 224
    return (size, size) if isinstance(size, int) else tuple(size[:2])


def run_backbone(backbone: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """All of its maps, B x C x h x w."""
    if backbone.config.model_type == SEGFORMER:
        return backbone(pixel_values=x, output_hidden_states=True).hidden_states
    return backbone(pixel_values=x).feature_maps


@contextlib.contextmanager
def limit_modules() -> Iterator[None]:
    """Within the block ValueError is raised when more modules are made than any encoder has."""
    count = 0

    def check(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MODULES_MAX:
            raise ValueError(f"its encoder's configuration: more than {MODULES_MAX:,} layers")

    handle = register_module_module_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
