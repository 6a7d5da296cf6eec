"""A model file is ours and whole, or refused in one line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depthmask.errors import UserError
from depthmask.models.model_file import HEADER_KEY, DepthMaskModel, ModelCard, hash_model, load_model, make_model, save_model
from depthmask.params import ModelParams


@pytest.fixture
def path(tmp_path):
    settings = ModelParams(name="compact", width=8, dropout=0.5, background_input=False).model_dump()
    save_model(DepthMaskModel(ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", 20.0)), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def _rewrite(path: Path, change: Callable[[dict, dict], None], seal: bool = True) -> None:
    """Write the file again with card and tensors as `change` leaves them; with `seal` their sha256 is right."""
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()[HEADER_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    said = card.pop("sha256")
    change(card, tensors)
    header = {HEADER_KEY: json.dumps(card | {"sha256": hash_model(card, tensors) if seal else said}, sort_keys=True)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=header)


def _write_header(path: Path, text: str) -> None:
    save_file({"weight": torch.zeros(2)}, path, metadata={HEADER_KEY: text})


def _put(card: dict, **values) -> None:
    card.update(values)


WEIGHT = "network.mask_head.1.weight"
CHANGES = {  # of a card and tensors whose sha256 is right: what the line says
    "a key is missing": (lambda card, tensors: card.pop("image_std"), "lacks image_std"),
    "an unknown key": (lambda card, tensors: _put(card, colour="red"), "has an unknown colour"),
    "another version": (lambda card, tensors: _put(card, format=1), "made by another version"),
    "an unknown network": (lambda card, tensors: card["settings"].update(name="resnet1000"), "resnet1000"),
    "a setting of no use": (lambda card, tensors: card["settings"].update(width=6), "width"),
    "a deviation of zero": (lambda card, tensors: _put(card, image_std=[0.2, 0.0, 0.2]), "image_std"),
    "an unknown unit": (lambda card, tensors: _put(card, depth_unit="foot"), "'foot'"),
    "no depth": (lambda card, tensors: _put(card, depth_max=0.0), "0.0"),
    "a tensor is missing": (lambda card, tensors: tensors.pop(WEIGHT), WEIGHT),
    "a tensor too many": (lambda card, tensors: tensors.update(more=torch.zeros(2)), "more"),
    "a pickle as a tensor": (
        lambda card, tensors: tensors.update(more=torch.frombuffer(bytearray(pickle.dumps({"a": 1})), dtype=torch.uint8)),
        "more",
    ),
    "another shape": (lambda card, tensors: tensors.update({WEIGHT: tensors[WEIGHT][:1]}), WEIGHT),
}
FILES = {  # what is done to the file: what the line says
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a whole model file"),
    "empty": (lambda path: path.write_bytes(b""), "not a whole model file"),
    "of somebody else": (lambda path: save_file({"weight": torch.zeros(2)}, path), "not depthmask alone"),
    "more metadata": (
        lambda path: save_file({"weight": torch.zeros(2)}, path, metadata={HEADER_KEY: "{}", "b": ""}),
        "not depthmask alone",
    ),
    "torch.save": (lambda path: torch.save({"weight": torch.zeros(2)}, path), "a pickle (torch.save)"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"weight": 1.0}, protocol=4)), "a pickle (torch.save)"),
    "no JSON": (lambda path: _write_header(path, "{format: 2"), "not a whole model file"),
    "no mapping": (lambda path: _write_header(path, "[2]"), "no mapping"),
    "endless JSON": (lambda path: _write_header(path, "[" * 100_000), "not a whole model file"),
    "another card": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'\\"width\\": 8', b'\\"width\\": 4')),
        "the sha256 differs",
    ),
    "not there": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: path.unlink() or path.mkdir(), "is a folder, not a model file"),
    "a pipe": (lambda path: path.unlink() or os.mkfifo(path), "is a pipe, not a model file"),
    "a link to itself": (lambda path: path.unlink() or path.symlink_to(path), "is a link that leads to itself"),
}


def _refuse(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(path)
    told = str(error.value)
    assert told.startswith(f"{path}: ") and "\n" not in told
    return told


@pytest.mark.parametrize(("spoil", "words"), FILES.values(), ids=FILES)
def test_a_bad_file_is_one_line_that_names_it(path, spoil, words):
    spoil(path)
    assert words in _refuse(path)


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_a_card_or_weights_that_cannot_be_are_refused_though_their_sha256_is_right(path, change, words):
    _rewrite(path, change)
    assert words in _refuse(path)


def test_weights_or_a_card_that_were_changed_are_refused(path):
    _rewrite(path, lambda card, tensors: None)
    load_model(path)
    _rewrite(path, lambda card, tensors: tensors[WEIGHT].view(-1)[0].add_(1e-6), seal=False)
    assert "the sha256 differs" in _refuse(path)


def test_any_changed_byte_is_refused(path):
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    places = {*range(12), *range(0, begin, 97), begin, len(data) - 1, *rng.integers(begin, len(data), 40).tolist()}
    for place in sorted(places):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        _refuse(path)
    path.write_bytes(data)
    load_model(path)


def test_others_may_read_the_file_as_the_umask_says(path, tmp_path):
    (tmp_path / "any").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_what_a_release_says_is_kept(path):
    release = {"scores": {"mask": {"iou": 0.5, "dice": None}}, "model_card": '# A card\n\nof "two" lines, δ'}
    save_model(load_model(path), path, release=release)
    assert load_model(path).card.release == release


IMAGE = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.0, 0.2]}


@pytest.mark.parametrize(
    ("channels", "standards"),
    [
        ({}, (0, 1, 0, 1)),
        ({"mask": {"mean": [0.1], "std": [0.3]}, "depth": {"mean": [0.4], "std": [0.25]}}, (0.1, 0.3, 0.4, 0.25)),
        ({"mask": {"mean": [0.0], "std": [0.0]}, "depth": {"mean": None, "std": None}}, (0, 0.001, 0, 1)),
    ],
)
def test_the_card_has_the_statistics_of_the_training_part(channels, standards):
    settings = ModelParams(name="dilated_small", width=8, dropout=0.5, background_input=False)
    card = make_model(settings, {"image": IMAGE, **channels}, {"unit": "metre", "max": 20.0}).card
    assert (card.mask_mean, card.mask_std, card.depth_mean, card.depth_std) == standards
    assert card.image_mean == (0.5, 0.4, 0.3)
    assert card.image_std == (0.2, 0.001, 0.2)
