"""Models on the Hugging Face Hub: pushed, fetched at a commit, cached, and each mistake in one line. Against a Hub made here."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_models import make_settings
from PIL import Image
from serving_hub import READ, WRITE, FakeHub, run_hub

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.commands.card import main as print_card
from depthmask.commands.export import main as export
from depthmask.commands.predict import main as predict
from depthmask.commands.push import main as push
from depthmask.hub.address import HubAddress, parse_address
from depthmask.hub.fetching import find_model
from depthmask.models.model_file import load_model, make_model, save_model

CHANNELS = {"image": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}}
SCORES = {"num_images": 8, "mask": {"iou": 0.75, "iou_low": 0.7, "iou_high": 0.8}, "depth": {"delta1": 0.5, "abs_rel": None}}
RELEASE = {"licence": "Apache-2.0", "scores": SCORES, "params": {"download": {"source": "demo"}}}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    made = make_model(make_settings(), CHANNELS, {"unit": "metre", "max": 20.0}, release=RELEASE, image_size_px=32)
    path = tmp_path_factory.mktemp("model") / "made.safetensors"
    save_model(made, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(folder, monkeypatch) -> FakeHub:
    """A Hub, a cache of its own for what is fetched from it, and a token with which one may write."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no token"))
    for name in ("HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the attempts of the library
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setenv("HF_TOKEN", WRITE)
        yield hub


def expect_line(capsys, code: int, said: str) -> None:
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("note: ")]
    assert code == 1 and len(lines) == 1 and re.fullmatch(f"error: {said}", lines[0]), printed.err
    assert "hf_" not in printed.out + printed.err


def test_what_is_pushed_is_loaded_and_predicts_the_same(hub, folder, model, capsys):
    assert push(["me/rooms", "--model", str(model), "--message", "the first"]) == 0
    address = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"hf://me/rooms@[0-9a-f]{40}", address)
    assert hub.repositories["me/rooms"].commits[0].keys() == {"model.safetensors", "README.md"}
    photo = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    expected = depthmask.load(model, device="cpu").predict(photo)
    for name in ("hf://me/rooms", address):
        found = depthmask.load(name, device="cpu").predict(photo)
        assert np.array_equal(found.mask, expected.mask) and np.array_equal(found.depth, expected.depth)
    card = load_model(find_model(address).path).card
    assert print_card([address]) == 0 and capsys.readouterr().out.strip() == card.release["model_card"].strip()
    assert export(["--model", address, "--out", "copy.safetensors"]) == 0
    assert load_model(Path("copy.safetensors")).card.release["scores"] == SCORES
    assert card.release["scores"] == SCORES and 'depthmask.load("hf://me/rooms")' in card.release["model_card"]


def test_the_card_has_the_header_that_the_hub_reads(hub, model):
    assert push(["hf://me/rooms", "--model", str(model), "--licence", "My Own 1.0"]) == 0
    assert push(["me/rooms", "--model", str(model)]) == 0
    own, usual = (commit["README.md"].decode() for commit in hub.repositories["me/rooms"].commits)
    assert {"license: other", "license_name: my-own-1.0"} <= set(own.splitlines())
    _, header, text = usual.split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["license"] == "apache-2.0" and values["datasets"] == ["depthmask-demo"]
    assert values["library_name"] == "depthmask" and values["pipeline_tag"] == "image-segmentation"
    assert "depth-estimation" in values["tags"] and {"mask_iou", "depth_delta1"} == set(values["metrics"])
    (entry,) = values["model-index"]
    results = {
        (result["task"]["type"], metric["type"]): metric["value"] for result in entry["results"] for metric in result["metrics"]
    }
    assert results == {("image-segmentation", "mask_iou"): 0.75, ("depth-estimation", "depth_delta1"): 0.5}
    assert text.startswith("# Model card") and "0.75" in text


def test_a_dry_run_pushes_nothing(hub, model, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert push(["me/rooms", "--model", str(model), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("---\ndatasets:\n- depthmask-demo\n") and not hub.asked


def test_private_repositories_branches_and_half_precision(hub, model, capsys):
    assert push(["me/rooms", "--model", str(model), "--private", "--half"]) == 0
    assert hub.repositories["me/rooms"].private
    assert len(hub.repositories["me/rooms"].commits[0]["model.safetensors"]) < model.stat().st_size + 4000
    expect_line(capsys, push(["me/rooms@next", "--model", str(model)]), "hf://me/rooms: has no such revision; correct it")


def test_a_model_without_a_licence_is_pushed_with_a_note(hub, folder, model, capsys):
    made = make_model(make_settings(), CHANNELS, {"unit": "metre", "max": 20.0}, image_size_px=32)
    save_model(made, folder / "plain.safetensors")
    assert push(["me/rooms", "--model", "plain.safetensors"]) == 0
    printed = capsys.readouterr().err
    assert "note: the model has no licence, so nobody else may use it" in printed
    assert "Warnings while validating metadata in README.md: - empty or missing license" in printed


def predict_photo(folder: Path, *more: str) -> int:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)).save(folder / "dog.png")
    return predict(["dog.png", "--out", "out", "--device", "cpu", *more])


def test_predict_records_the_commit_and_a_commit_in_the_cache_needs_no_network(hub, folder, model, capsys):
    commit = hub.add("me/rooms", {"model.safetensors": model.read_bytes()})
    assert predict_photo(folder, "--model", "hf://me/rooms") == 0
    (entry,) = read_json(folder / "out/predictions.json")["models"]
    assert entry["origin"] == f"hf://me/rooms@{commit}"
    assert f"note: predicting with hf://me/rooms@{commit}" in capsys.readouterr().err
    newer = hub.add("me/rooms", {"model.safetensors": model.read_bytes(), "more.txt": b"x"})
    assert find_model("hf://me/rooms").address == f"hf://me/rooms@{newer}"
    hub.down = True
    hub.asked.clear()
    assert find_model(f"hf://me/rooms@{commit}").address == f"hf://me/rooms@{commit}" and not hub.asked
    hub.shutdown()
    hub.server_close()
    assert find_model("hf://me/rooms").address == f"hf://me/rooms@{newer}"  # what main was when it was last seen


def test_a_file_in_a_folder_and_several_models(hub, folder, model):
    commit = hub.add("me/rooms", {"best/a.safetensors": model.read_bytes()})
    found = find_model(f"hf://me/rooms/best/a.safetensors@{commit}")
    assert found.address == f"hf://me/rooms/best/a.safetensors@{commit}" and found.path.name == "a.safetensors"
    assert len(depthmask.load([model, "hf://me/rooms/best/a.safetensors"], device="cpu").members) == 2


def break_down(hub, monkeypatch):
    hub.down = True


def go_offline(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def lose_token(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")


def read_only(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READ)


def expire_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")


LOG_IN = r"log in with `hf auth login`, or set HF_TOKEN"
UNREACHABLE = "not in the cache, and the Hub cannot be reached; connect to the network, or name a model file on this machine"
NOT_FETCHED = [
    ("hf://me/none", None, f"no such repository, or a private one; correct the name, or {LOG_IN} with permission to read it"),
    ("hf://me/private", lose_token, f"no such repository, or a private one; correct the name, or {LOG_IN} with .*"),
    (
        "hf://me/gated",
        None,
        rf"available only after accepting its terms; do so at https://huggingface.co/me/gated, then {LOG_IN}",
    ),
    ("hf://me/open@v7", None, "has no such revision; correct it"),
    ("hf://me/open", None, "has no such file; correct its path, or choose another repository"),
    ("hf://me/open", go_offline, UNREACHABLE),
    ("hf://me/open", break_down, UNREACHABLE),
    ("hf://me/-open", None, r"not the name of a repository on the Hub \(OWNER/NAME\); correct it"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), NOT_FETCHED)
def test_what_cannot_be_fetched_is_one_line(hub, folder, model, capsys, monkeypatch, name, spoil, said):
    hub.add("me/open", {"other.bin": b"x"})
    hub.add("me/private", {"model.safetensors": model.read_bytes()}, private=True)
    hub.add("me/gated", {"model.safetensors": model.read_bytes()}, gated=True)
    if spoil is not None:
        spoil(hub, monkeypatch)
    expect_line(capsys, predict_photo(folder, "--model", name), f"{name}: {said}")
    assert not (folder / "out").exists()


NOT_PUSHED = [
    ("me/rooms", lose_token, f"pushing needs a token with write permission; {LOG_IN}"),
    ("me/rooms", read_only, rf"no permission to write there \(.*don't have the rights.*\); {LOG_IN} with permission"),
    ("others/rooms", None, rf"no permission to write there \(.*\); {LOG_IN} with permission"),
    ("me/rooms", expire_token, r"no permission to write there \(.*Invalid token \*\*\*.*\); .*"),
    ("me/rooms", go_offline, r"the Hub cannot be reached \(.*\); connect to the network, and try again"),
    ("me/rooms", break_down, r"the Hub responded 503 \(.*down for maintenance.*\); try again later"),
    ("me/-rooms", None, r"not the name of a repository on the Hub \(OWNER/NAME\); correct it"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), NOT_PUSHED)
def test_what_cannot_be_pushed_is_one_line(hub, model, capsys, monkeypatch, name, spoil, said):
    if spoil is not None:
        spoil(hub, monkeypatch)
    expect_line(capsys, push([name, "--model", str(model)]), f"hf://{name}: {said}")
    assert not hub.repositories


def test_what_is_no_model_file_is_refused_as_any_file_is(hub, folder, capsys):
    hub.add("me/rooms", {"model.safetensors": b"x" * 100})
    assert predict_photo(folder, "--model", "hf://me/rooms") == 1
    assert "not a whole model file of depthmask" in capsys.readouterr().err


ADDRESSES = [
    ("hf://me", "hf://me: not the address of a model; allowed: hf://OWNER/NAME, hf://OWNER/NAME@REVISION or"),
    ("HF://me/rooms", "HF://me/rooms: not the address of a model"),
    ("hf://me/rooms/model.bin", "model.bin is not a model file; name a .safetensors file of it"),
    ("hf://me/../rooms", "not the address of a model"),
    ("hf://me/rooms@", "not the address of a model"),
    (f"hf://me/{'x' * 300}?", "x{100}.*\\.\\.\\.: not the address of a model"),
]


@pytest.mark.parametrize(("text", "said"), ADDRESSES)
def test_what_is_no_address_is_one_line(folder, capsys, text, said):
    with pytest.raises(UserError, match=said):
        parse_address(text)
    with pytest.raises(UserError, match=said):
        depthmask.load(text)


def test_addresses_are_read_and_written_alike():
    for text in ("hf://me/rooms", "hf://me/rooms@refs/pr/1", "hf://me/rooms/best/a.safetensors@v1.0"):
        assert str(parse_address(text)) == text
    assert parse_address("hf://me/rooms@v1") == HubAddress("me/rooms", "model.safetensors", "v1")


def test_without_the_package_it_is_one_line_with_what_to_install(folder, model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = r"models on the Hugging Face Hub need the package huggingface_hub; install with: pip install -e '\.\[hub\]'"
    expect_line(capsys, push(["me/rooms", "--model", str(model)]), said)
    expect_line(capsys, predict_photo(folder, "--model", "hf://me/rooms"), said)
    assert find_model(model).path == model


def test_a_model_is_pushed_under_its_usual_name(folder, model, capsys):
    code = push(["me/rooms/best.safetensors", "--model", str(model)])
    expect_line(capsys, code, r"me/rooms/best.safetensors: a model is pushed as model.safetensors; name the repository alone, .*")


def test_an_endpoint_that_is_not_a_url_is_named(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example.org")
    with pytest.raises(UserError, match="HF_ENDPOINT: not a URL; write it as https://HOST"):
        find_model("hf://a/b")
