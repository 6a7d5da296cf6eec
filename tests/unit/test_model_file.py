"""A model file is ours and whole, or refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from making_models import make_settings
from safetensors import safe_open
from safetensors.torch import save_file

from depthmask.base.errors import UserError
from depthmask.models.model_file import HEADER_KEY, DepthMaskModel, ModelCard, hash_model, load_model, make_model, save_model
from depthmask.params import NetworkParams


@pytest.fixture
def path(tmp_path):
    settings = NetworkParams(
        encoder="efficientnet_lite0", name="compact", width=8, dropout=0.5, background_input=False
    ).model_dump()
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


def _nest(depth: int) -> list:
    return [_nest(depth - 1)] if depth else []


WEIGHT = "network.mask_head.1.weight"
VARIANCE = "network.scene.stem.0.1.running_var"
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
    "another type": (lambda card, tensors: tensors.update({WEIGHT: tensors[WEIGHT].to(torch.float64)}), "float64"),
    "no number": (lambda card, tensors: tensors[WEIGHT].view(-1)[0].fill_(float("nan")), "has values that are not finite"),
    "infinity": (lambda card, tensors: tensors[WEIGHT].view(-1)[-1].fill_(-float("inf")), "has values that are not finite"),
    "a negative variance": (lambda card, tensors: tensors[VARIANCE].view(-1)[0].fill_(-1.0), "has variances below 0"),
    "a mean of no number": (lambda card, tensors: _put(card, image_mean=[0.5, float("nan"), 0.5]), "NaN is not a number"),
    "a mean beyond 1": (lambda card, tensors: _put(card, image_mean=[0.5, 2.0, 0.5]), "image_mean.1: 2.0 is not less than"),
    "two deviations": (lambda card, tensors: _put(card, image_std=[0.2, 0.2]), "image_std"),
    "a size of text": (lambda card, tensors: _put(card, image_size_px="64"), "image_size_px: '64' is not a valid integer"),
    "a huge size": (lambda card, tensors: _put(card, image_size_px=10**9), "image_size_px: 1000000000 px; allowed: 16 to 4096"),
    "a yes for a number": (lambda card, tensors: _put(card, depth_max=True), "depth_max: True is not a valid number"),
    "an escape": (lambda card, tensors: _put(card, release={"model_card": "\x1b[2J"}), "has the control character U+001B"),
    "an escape in a key": (lambda card, tensors: _put(card, release={"data": {"\x9b": ""}}), "has the control character U+009B"),
    "text turned around": (lambda card, tensors: _put(card, release={"depthmask": "\u202e"}), "has the control character U+202E"),
    "half a character": (lambda card, tensors: _put(card, release={"depthmask": "\ud800"}), "has the control character U+D800"),
    "a release that is a list": (lambda card, tensors: _put(card, release=[1]), "release: not a valid dictionary"),
    "an unknown key of a release": (lambda card, tensors: _put(card, release={"colour": "red"}), "release.colour: unknown key"),
    "a run without its stage": (lambda card, tensors: _put(card, release={"runs": [{"seconds": 1.0}]}), "runs.0.stage: missing"),
    "a score of text": (lambda card, tensors: _put(card, release={"scores": {"mask": {"iou": "good"}}}), "release.scores: mask"),
    "a time that is none": (
        lambda card, tensors: _put(card, release={"runs": [{"stage": "a", "started": "today", "seconds": 1.0}]}),
        "release.runs.0.started: Invalid",
    ),
    "nested without end": (lambda card, tensors: _put(card, release={"params": {"a": _nest(50)}}), "is nested more than 12 deep"),
    "a text of megabytes": (lambda card, tensors: _put(card, release={"depthmask": "x" * 3_000_000}), "its header should have"),
    "a number of 30 digits": (lambda card, tensors: _put(card, release={"params": {"a": 10**30}}), "more than 63 bits"),
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
    "a key twice": (lambda path: _write_header(path, '{"format": 2, "format": 2}'), "duplicate key 'format'"),
    "a giant header": (lambda path: _write_header(path, "x" * 3_000_000), "its header should have 3,"),
    "a header longer than the file": (
        lambda path: path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:]),
        "its header should have",
    ),
    "a header that is no UTF-8": (
        lambda path: path.write_bytes(path.read_bytes()[:8] + b"\xff\xfe" + path.read_bytes()[10:]),
        "'utf-8' codec can't decode",
    ),
    "overlapping tensors": (
        lambda path: path.write_bytes(re.sub(rb'"data_offsets":\[(\d)', rb'"data_offsets":[9', path.read_bytes(), count=1)),
        "not a whole model file",
    ),
    "not a mapping": (lambda path: _write_header(path, "[2]"), "not a mapping"),
    "endless JSON": (lambda path: _write_header(path, "[" * 100_000), "not a whole model file"),
    "another card": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'\\"width\\": 8', b'\\"width\\": 4')),
        "the sha256 differs",
    ),
    "not there": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: path.unlink() or path.mkdir(), "is a folder, not a model file"),
    "a pipe": (lambda path: path.unlink() or os.mkfifo(path), "is a pipe, not a model file"),
    "a link to itself": (lambda path: path.unlink() or path.symlink_to(path), "is a link to itself"),
}


def _load_and_fail(path: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(path)
    printed = str(error.value)
    assert printed.startswith(f"{path}: ") and "\n" not in printed
    return printed


@pytest.mark.parametrize(("spoil", "words"), FILES.values(), ids=FILES)
def test_a_bad_file_is_one_line_that_names_it(path, spoil, words):
    spoil(path)
    assert words in _load_and_fail(path)


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_a_card_or_weights_that_cannot_be_are_rejected_though_their_sha256_is_right(path, change, words):
    _rewrite(path, change)
    assert words in _load_and_fail(path)


def test_weights_or_a_card_that_were_changed_are_rejected(path):
    _rewrite(path, lambda card, tensors: None)
    load_model(path)
    _rewrite(path, lambda card, tensors: tensors[WEIGHT].view(-1)[0].add_(1e-6), seal=False)
    assert "the sha256 differs" in _load_and_fail(path)


def test_any_changed_byte_is_rejected(path):
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    places = {*range(12), *range(0, begin, 97), begin, len(data) - 1, *rng.integers(begin, len(data), 40).tolist()}
    for place in sorted(places):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        _load_and_fail(path)
    path.write_bytes(data)
    load_model(path)


def test_a_small_file_of_a_huge_network_is_rejected_before_that_is_made(path):
    """1.2 GB, of which nobody's card may make us ask the system."""
    _rewrite(path, lambda card, tensors: card["settings"].update(width=256))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "its network needs float32 [" in _load_and_fail(path) or "it lacks" in _load_and_fail(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100e6


@pytest.mark.parametrize("low_byte", [0x50, 0x80])
def test_a_header_whose_length_begins_as_a_pickle_does_is_one_like_others(path, low_byte):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    longer = length + (low_byte - length) % 256
    path.write_bytes(longer.to_bytes(8, "little") + data[8 : 8 + length] + b" " * (longer - length) + data[8 + length :])
    assert path.read_bytes()[0] == low_byte
    load_model(path)


def test_finite_weights_whose_sum_is_not_are_weights_like_others(path):
    _rewrite(path, lambda card, tensors: tensors[WEIGHT].view(-1)[:2].fill_(3e38))
    assert load_model(path).network.state_dict()[WEIGHT.removeprefix("network.")].max() > 2e38


def test_the_file_of_a_model_is_as_it_was(tmp_path):
    """Weights are compared by their bytes: a card's keys, their order and its numbers stand as in all files until now."""
    settings = make_settings("dilated_small", width=8, dropout=0.5, background_input=False)
    model = make_model(settings, {"image": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.0, 0.2]}}, {"unit": "metre", "max": 20.0})
    save_model(model, tmp_path / "m.safetensors", epochs=3, image_size_px=64)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        written = file.metadata()[HEADER_KEY]
    assert re.sub("[0-9a-f]{64}", "HASH", written) == (
        '{"depth_max": 20.0, "depth_mean": 0.0, "depth_std": 1.0, "depth_unit": "metre", "encoder": null,'
        ' "encoder_config": null, "epochs": 3, "format": 3,'
        ' "image_mean": [0.5, 0.4, 0.3], "image_size_px": 64, "image_std": [0.2, 0.001, 0.2], "init": null,'
        ' "mask_mean": 0.0, "mask_std": 1.0,'
        ' "release": null, "settings": {"background_input": false, "dropout": 0.5, "encoder": "efficientnet_lite0",'
        ' "name": "dilated_small", "width": 8}, "sha256": "HASH"}'
    )


def test_others_may_read_the_file_as_the_umask_says(path, tmp_path):
    (tmp_path / "any").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_what_a_release_says_is_kept(path):
    release = {"scores": {"mask": {"iou": 0.5, "dice": None}}, "model_card": '# A card\n\nof "two" lines, δ'}
    save_model(load_model(path), path, release=release)
    assert load_model(path).card.release == release


IMAGE = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.0, 0.2]}


@pytest.mark.parametrize(
    ("channels", "stats"),
    [
        ({}, (0, 1, 0, 1)),
        ({"mask": {"mean": [0.1], "std": [0.3]}, "depth": {"mean": [0.4], "std": [0.25]}}, (0.1, 0.3, 0.4, 0.25)),
        ({"mask": {"mean": [0.0], "std": [0.0]}, "depth": {"mean": None, "std": None}}, (0, 0.001, 0, 1)),
    ],
)
def test_the_card_has_the_statistics_of_the_training_part(channels, stats):
    settings = make_settings("dilated_small", width=8, dropout=0.5, background_input=False)
    card = make_model(settings, {"image": IMAGE, **channels}, {"unit": "metre", "max": 20.0}).card
    assert (card.mask_mean, card.mask_std, card.depth_mean, card.depth_std) == stats
    assert card.image_mean == (0.5, 0.4, 0.3)
    assert card.image_std == (0.2, 0.001, 0.2)
