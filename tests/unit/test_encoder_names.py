"""What `model.encoder` may say, and that a missing package or folder is reported before anything runs; needs no package."""

from __future__ import annotations

import importlib.util

import pytest

from depthmask.base.errors import ParamsError
from depthmask.params import make_params
from depthmask.preflight import inputs
from depthmask.preflight.inputs import require_encoder
from depthmask.registry.encoders import EncoderName, parse_encoder

COMMIT = "ed25f3a31f01632728cabb09d1542f84ab7b0056"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("efficientnet_lite1", EncoderName(None, "efficientnet_lite1")),
        ("timm:resnet18", EncoderName("timm", "resnet18")),
        ("timm:resnet18.a1_in1k@main", EncoderName("timm", "resnet18.a1_in1k", "main")),
        ("timm:weights/resnet18", EncoderName("timm", "weights/resnet18", is_folder=True)),
        (f"transformers:facebook/dinov2-small@{COMMIT}", EncoderName("transformers", "facebook/dinov2-small", COMMIT)),
        ("transformers:facebook/dinov2-small", EncoderName("transformers", "facebook/dinov2-small", is_folder=True)),
        ("transformers:/a folder/swin", EncoderName("transformers", "/a folder/swin", is_folder=True)),
    ],
)
def test_names_are_read_as_they_are_meant(text, meant):
    assert parse_encoder(text) == meant


WRONG = ["", "resnet18", "timm:", "timm", "hub:a/b", "transformers:a\nb", "timm:\u202eabc/d", "timm:/" + "a" * 512]


@pytest.mark.parametrize("text", WRONG)
def test_another_name_is_rejected_in_one_line(params, text):
    values = params.model_dump()
    values["model"]["encoder"] = text
    with pytest.raises(ParamsError) as error:
        make_params(values, where="params.yaml")
    line = str(error.value)
    assert line.startswith("params.yaml: model.encoder: ")
    assert line.endswith(
        "is no encoder; allowed: efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, timm:NAME, timm:FOLDER,"
        " transformers:OWNER/NAME@REVISION, transformers:FOLDER"
    )
    assert line.isprintable()


def _choose(params, encoder: str, name: str = "encoder_decoder"):
    return params.model.model_copy(update={"name": name, "encoder": encoder})


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_missing_package_is_reported_with_what_to_install(params, monkeypatch, library):
    monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParamsError) as error:
        require_encoder(_choose(params, f"{library}:a/b@main"), "params.yaml")
    assert str(error.value) == (
        f"params.yaml: model.encoder: {library}:a/b@main needs the package {library}, which is not installed;"
        " pip install -e '.[encoders]', or choose another encoder"
    )


def test_a_missing_folder_is_reported(params, monkeypatch, tmp_path):
    monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: importlib.util)
    require_encoder(_choose(params, f"timm:{tmp_path}"), "params.yaml")
    with pytest.raises(ParamsError, match=r"nothing: no such folder; allowed: a folder, or OWNER/NAME@REVISION of the"):
        require_encoder(_choose(params, f"transformers:{tmp_path}/nothing"), "params.yaml")


@pytest.mark.parametrize("text", ["timm:no/such/folder", "efficientnet_lite0"])
def test_what_a_network_does_not_use_is_not_looked_for(params, monkeypatch, text):
    monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: None)
    require_encoder(_choose(params, text, name="compact"), "params.yaml")
    with pytest.raises(ParamsError):
        require_encoder(_choose(params, "timm:no/such/folder"), "params.yaml")
