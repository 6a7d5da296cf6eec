"""model.encoder_weights as a file: of an encoder alone, or a model file whose encoder is taken; strictly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from making_models import make_settings
from safetensors.torch import load_file, save_file

from depthmask.base.errors import ParamsError, UserError
from depthmask.encoders import make_encoder
from depthmask.models.model_card import EncoderCard
from depthmask.models.model_file import load_model, make_model, save_model
from depthmask.params import ModelParams, make_params
from depthmask.params.mixture import strip_source
from depthmask.registry.encoders import ENCODERS
from depthmask.training.stage import open_new_model
from depthmask.weights.start import write_start
from depthmask.weights.start_folder import read_record

LITE = "efficientnet_lite0"
CHANNELS = {"image": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}}


def name_file(path: Path) -> str:
    return f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"


def make_model_params(weights: str, **changes) -> ModelParams:
    values = make_settings("encoder_decoder").model_dump() | {"encoder_weights": weights, "init": None}
    return ModelParams(**(values | changes))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start").mkdir()
    return tmp_path


@pytest.fixture
def data(tmp_path, params) -> tuple[Path, Path]:
    """What a new model reads of raw data and split."""
    (tmp_path / "statistics.json").write_text(json.dumps({"channels": CHANNELS}))
    values = strip_source(params.download).model_dump()
    record = {"download": values, "sha256": "0" * 64, "skipped": [], "warnings": []}
    (tmp_path / "source.json").write_text(json.dumps(record))
    return tmp_path, tmp_path


def make_encoder_file(name: str = LITE) -> Path:
    torch.manual_seed(3)
    save_file(make_encoder(name).state_dict(), Path("encoder.safetensors"))
    return Path("encoder.safetensors")


def make_model_file(name: str = "encoder_decoder", **changes) -> Path:
    torch.manual_seed(3)
    model = make_model(make_settings(name), CHANNELS, {"unit": "metre", "max": 20.0}, **changes)
    save_model(model, Path("theirs.safetensors"))
    return Path("theirs.safetensors")


def test_a_file_of_an_encoder_is_what_the_training_starts_with(folder, data):
    weights = name_file(make_encoder_file())
    record = write_start(make_model_params(weights), Path("start"))
    assert record.encoder == EncoderCard("file", "encoder.safetensors", None, weights[-64:])
    assert read_record(Path("start")) == record
    model = open_new_model(make_model_params(weights), 0, *data, Path("start"))
    for name, tensor in load_file("encoder.safetensors").items():
        assert torch.equal(model.network.encoder.state_dict()[name], tensor), name
    spec = ENCODERS[LITE]
    assert (model.card.encoder, model.card.image_mean) == (record.encoder, spec.image_mean)


def test_what_the_stage_writes_for_one_run_is_a_file_for_another(folder):
    write_start(make_model_params(name_file(make_encoder_file())), Path("start"))
    before = load_file("start/encoder.safetensors")
    Path("again").mkdir()
    write_start(make_model_params(name_file(Path("start/encoder.safetensors"))), Path("again"))
    assert Path("again/encoder.safetensors").read_bytes() == Path("start/encoder.safetensors").read_bytes()
    assert before.keys() == make_encoder(LITE).state_dict().keys()


def test_of_a_model_file_the_encoder_is_taken_with_its_view_of_images(folder, data):
    weights = name_file(make_model_file(release={"licence": "CC0-1.0"}))
    model = make_model_params(weights, width=8, background_input=True)  # only the encoder has to fit
    record = write_start(model, Path("start"))
    assert record.encoder == EncoderCard("file", "theirs.safetensors", "CC0-1.0", weights[-64:])
    opened = open_new_model(model, 0, *data, Path("start"))
    theirs = load_model(Path("theirs.safetensors")).network.encoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in opened.network.encoder.state_dict().items())
    assert opened.card.image_mean == (0.5, 0.4, 0.3) and opened.card.epochs == 0 and opened.card.init is None


def write_other_encoder() -> Path:
    return make_encoder_file("efficientnet_lite1")


def write_incomplete() -> Path:
    path = make_encoder_file()
    tensors = load_file(path)
    del tensors[min(tensors)]
    save_file(tensors, path)
    return path


def write_not_finite() -> Path:
    path = make_encoder_file()
    tensors = load_file(path)
    tensors[min(tensors)].fill_(float("nan"))
    save_file(tensors, path)
    return path


def write_other_model() -> Path:
    return make_model_file("compact")


def write_pickle() -> Path:
    torch.save(make_encoder(LITE).state_dict(), "encoder.pth")
    return Path("encoder.pth")


FAULTS = [
    (write_other_encoder, "does not fit model.encoder: efficientnet_lite0 .*; choose another file or encoder"),
    (write_incomplete, "does not fit model.encoder: efficientnet_lite0 .of its .* tensors, it lacks: "),
    (write_not_finite, "has values that are not finite"),
    (write_other_model, "its network compact has no encoder; choose another file"),
    (write_pickle, "is a pickle .torch.save., which could run any code"),
]


@pytest.mark.parametrize(("write", "said"), FAULTS)
def test_a_file_of_something_else_is_a_line(folder, write, said):
    with pytest.raises(UserError, match=said) as error:
        write_start(make_model_params(name_file(write())), Path("start"))
    assert "\n" not in str(error.value)


def test_another_encoder_of_a_model_file_is_a_line_with_what_to_set(folder):
    model = make_model_params(name_file(make_model_file()), encoder="efficientnet_lite1")
    with pytest.raises(UserError, match=r"has the encoder efficientnet_lite0; set model.encoder: efficientnet_lite0"):
        write_start(model, Path("start"))


def test_the_sha256_is_checked(folder):
    path = make_encoder_file()
    with pytest.raises(UserError, match=r"^model.encoder_weights: encoder.safetensors needs its sha256"):
        write_start(make_model_params(str(path)), Path("start"))
    with pytest.raises(UserError, match=r"^model.encoder_weights: encoder.safetensors: sha256 is .* expected 0{64}"):
        write_start(make_model_params(f"{path}#sha256={'0' * 64}"), Path("start"))


SCHEMA = [
    ({"encoder_weights": "imagenett"}, "encoder_weights: imagenett; allowed: imagenet or none, or PATH"),
    ({"encoder_weights": "s3://a/b.safetensors"}, "encoder_weights: s3://a/b.safetensors: is not the address of a file"),
    (
        {"encoder_weights": "a.safetensors", "init": "b.safetensors"},
        "encoder_weights: a.safetensors would be ignored, because model.init is set; allowed: imagenet or none, or init: null",
    ),
]


@pytest.mark.parametrize(("changes", "said"), SCHEMA)
def test_the_schema_refuses_what_names_no_file(params, changes, said):
    values = params.model_dump()
    values["model"] |= changes
    with pytest.raises(ParamsError, match=f"^params: model.{said}"):
        make_params(values)
