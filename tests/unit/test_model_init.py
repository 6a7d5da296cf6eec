"""model.init: a training starts from a model file, strictly; what differs and may is said in a line each."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import requests
import torch
import yaml
from making_models import make_settings
from serving_files import FileServer, run_server

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import write_json
from depthmask.download import transfer
from depthmask.models.model_card import EncoderCard, InitCard
from depthmask.models.model_file import load_model, make_model, save_model
from depthmask.params import ModelParams, Params, make_params
from depthmask.preflight.inputs import check_origin
from depthmask.preflight.paths import check_paths
from depthmask.training.stage import open_new_model
from depthmask.weights import files
from depthmask.weights.init import read_init
from depthmask.weights.start import write_start
from depthmask.weights.start_folder import read_record
from stages.pretrain import main as pretrain
from stages.weights import main as weights

ROOT = Path(__file__).resolve().parents[2]
DEPTH = {"unit": "metre", "max": 20.0}
CHANNELS = {"image": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}}
ENCODER = EncoderCard("imagenet", "somewhere", "Apache-2.0", "0" * 64)
SHORT = {"image_size_px": 32, "batch_size": 4, "samples_per_epoch": 8, "epochs": 1, "validation_samples": 4}


def hash_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_file(path: Path, depth: dict = DEPTH, release: dict | None = None, **settings) -> str:
    """Write a model file with weights of its own and return it as model.init names it."""
    torch.manual_seed(7)
    model = make_model(make_settings(**settings), CHANNELS, depth, epochs=13, encoder=ENCODER, release=release)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(0.01 if name.endswith("running_var") else 0.001)
    save_model(model, path)
    return f"{path}#sha256={hash_sha256(path)}"


def make_model_params(init: str | None, **changes) -> ModelParams:
    values = make_settings().model_dump() | {"encoder_weights": "none", "init": init}
    return ModelParams(**(values | changes))


@pytest.fixture(scope="module")
def split(split, tmp_path_factory) -> Path:
    """The split with the statistics that its stage would have written."""
    folder = shutil.copytree(split, tmp_path_factory.mktemp("with_statistics") / "split")
    write_json(folder / "statistics.json", {"channels": CHANNELS})
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def server():
    with run_server() as server:
        yield server


def start_from(model: ModelParams, folder: Path) -> Path:
    start = folder / "start"
    shutil.rmtree(start, ignore_errors=True)
    start.mkdir()
    write_start(model, start)
    return start


@pytest.mark.parametrize("name", ["compact", "encoder_decoder"])
def test_weights_and_statistics_are_those_of_the_file(folder, raw, split, name):
    init = make_file(Path("theirs.safetensors"), name=name)
    model = make_model_params(init, name=name, dropout=0.3)
    start = start_from(model, folder)
    opened, theirs = open_new_model(model, 0, raw, split, start), load_model(Path("theirs.safetensors"))
    assert opened.state_dict().keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(opened.state_dict()[key], tensor), key
    assert opened.card.image_mean == theirs.card.image_mean == (0.5, 0.4, 0.3)
    assert opened.card.epochs == 13 and opened.card.settings["dropout"] == 0.3
    assert opened.card.encoder == ENCODER and opened.card.init == InitCard("theirs.safetensors", None, init[-64:])
    assert read_init(start / "init.safetensors", "x", model.network, DEPTH).notes == []


def test_the_licence_of_a_released_file_is_recorded(folder):
    make_model_file = make_file(Path("theirs.safetensors"), release={"licence": "CC0-1.0"})
    assert read_record(start_from(make_model_params(make_model_file), folder)).init.licence == "CC0-1.0"


def write_params(folder: Path, params: Params, **model) -> None:
    values = params.model_dump()
    values["model"] = make_model_params(None).model_dump() | model
    values["pretrain"] |= SHORT
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def run_both_stages(raw: Path, split: Path) -> bytes:
    assert weights(["--out", "data/weights", "--run", "weights.json"]) == 0
    options = ["--raw", str(raw), "--store", str(raw), "--split", str(split), "--start", "data/weights"]
    outputs = ["--weights", "made.safetensors", "--history", "history.csv", "--run", "run.json"]
    assert pretrain([*options, *outputs]) == 0
    return Path("made.safetensors").read_bytes()


def test_the_stages_train_from_the_file_to_the_same_bytes_twice_and_count_its_epochs(folder, raw, split, params, capfd):
    init = make_file(Path("theirs.safetensors"), depth={"unit": "metre", "max": 10.0}, background_input=True)
    write_params(folder, params, init=init)
    made = run_both_stages(raw, split)
    card = load_model(Path("made.safetensors")).card
    assert card.epochs == 14 and card.init == InitCard("theirs.safetensors", None, init[-64:])
    assert (card.depth_max, card.image_std) == (20.0, (0.2, 0.2, 0.3))
    record = json.loads(Path("weights.json").read_text())["extra"]
    assert record["init"] == {"source": "theirs.safetensors", "licence": None, "sha256": init[-64:]}
    assert len(record["differences"]) == 2
    said = capfd.readouterr().err.replace("\n", " ")
    assert all(line in said for line in record["differences"])
    assert run_both_stages(raw, split) == made
    write_params(folder, params)
    assert run_both_stages(raw, split) != made


DIFFERENCES = [
    ({"background_input": True}, {}, "has model.background_input: true; .* random weights .*: 1 .network.figure.stem.0.0.weight"),
    ({"name": "encoder_decoder", "background_input": True}, {"name": "encoder_decoder"}, r": 5 \(network.figure.laterals.0.0.0"),
    ({"depth": {"unit": "metre", "max": 8.0}}, {}, "depth head: .* was trained for up to 8 m, now 20 m; its weights are kept"),
    ({"depth": {"unit": "relative", "max": 1.0}}, {}, r"trained for up to 1 \(relative\), now 20 m"),
]


@pytest.mark.parametrize(("theirs", "ours", "said"), DIFFERENCES)
def test_what_may_differ_is_said_in_one_line(folder, raw, split, theirs, ours, said):
    model = make_model_params(make_file(Path("theirs.safetensors"), **theirs), **ours)
    start = start_from(model, folder)
    init = read_init(start / "init.safetensors", "theirs.safetensors", model.network, DEPTH)
    assert len(init.notes) == 1 and re.search(said, init.notes[0]), init.notes
    opened = open_new_model(model, 0, raw, split, start).state_dict()
    random = model.model_copy(update={"init": None})
    fresh = open_new_model(random, 0, raw, split, start_from(random, folder)).state_dict()
    assert init.tensors.keys() <= opened.keys() == fresh.keys()
    for name, tensor in opened.items():
        assert torch.equal(tensor, init.tensors.get(name, fresh[name])), name


PRETRAINED = {"name": "encoder_decoder", "encoder": "efficientnet_lite0", "encoder_weights": "imagenet"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (PRETRAINED, {}),
        ({}, PRETRAINED),  # or a frozen encoder would be random
        (PRETRAINED | {"encoder_weights": "none"}, PRETRAINED),
        (PRETRAINED, PRETRAINED | {"encoder_weights": "none"}),
        (PRETRAINED, PRETRAINED | {"encoder": "efficientnet_lite1"}),
    ],
)
def test_a_start_for_another_model_is_a_line(folder, raw, split, theirs, ours):
    start = start_from(make_model_params(None, **theirs), folder)
    with pytest.raises(UserError, match=r"start: written for another model than params.yaml has; run the stage weights again"):
        open_new_model(make_model_params(None, **ours), 0, raw, split, start)


def test_a_start_with_a_model_file_is_for_a_model_that_has_one(folder, raw, split):
    model = make_model_params(make_file(Path("theirs.safetensors")))
    for theirs, ours in ((model, make_model_params(None)), (make_model_params(None), model)):
        with pytest.raises(UserError, match="written for another model"):
            open_new_model(ours, 0, raw, split, start_from(theirs, folder))


def test_another_network_is_a_line_with_what_to_set(folder):
    init = make_file(Path("theirs.safetensors"), name="encoder_decoder", width=8)
    start = start_from(make_model_params(init), folder)
    expected = "theirs.safetensors has another network than params.yaml; set model.name: encoder_decoder, model.width: 8"
    with pytest.raises(UserError, match=f"model.init: {expected} .now: compact, 4."):
        read_init(start / "init.safetensors", "theirs.safetensors", make_settings(), DEPTH)
    other = make_settings("encoder_decoder", width=8, encoder="efficientnet_lite1")
    with pytest.raises(UserError, match=r"set model.encoder: efficientnet_lite0 .now: efficientnet_lite1."):
        read_init(start / "init.safetensors", "theirs.safetensors", other, DEPTH)


def test_the_encoder_of_a_network_without_one_does_not_matter(folder):
    start = start_from(make_model_params(make_file(Path("theirs.safetensors"), encoder="efficientnet_lite1")), folder)
    assert read_init(start / "init.safetensors", "x", make_settings(), DEPTH).notes == []


def test_another_network_stops_the_stage_before_anything_of_it_is_replaced(folder, params, capfd):
    write_params(folder, params, init=make_file(Path("theirs.safetensors"), width=8))
    Path("data/weights").mkdir(parents=True)
    Path("data/weights/before").touch()
    assert weights(["--out", "data/weights", "--run", "weights.json"]) == 1
    assert "set model.width: 8 (now: 4)" in capfd.readouterr().err and Path("data/weights/before").exists()


def break_nothing(path: Path) -> str:
    return str(path)


def name_another_hash(path: Path) -> str:
    return f"{path}#sha256={'0' * 64}"


def remove(path: Path) -> str:
    path.unlink()
    return name_another_hash(path)


def put_folder(path: Path) -> str:
    remove(path)
    path.mkdir()
    return name_another_hash(path)


LOCAL_FAULTS = [
    (break_nothing, "theirs.safetensors needs its sha256, so that another file is noticed; add #sha256=({found}) to model.init"),
    (name_another_hash, "theirs.safetensors: sha256 is ({found}), expected 0{{64}}; correct the file or the sha256"),
    (remove, "theirs.safetensors: no such file; correct the path"),
    (put_folder, "theirs.safetensors: is a folder; correct the path"),
]


@pytest.mark.parametrize(("spoil", "said"), LOCAL_FAULTS)
def test_a_local_file_is_checked_before_anything_runs_and_by_the_stage(folder, params, spoil, said):
    make_file(Path("theirs.safetensors"))
    said = f"model.init: {said.format(found=hash_sha256(Path('theirs.safetensors')))}"
    model = make_model_params(spoil(Path("theirs.safetensors")))
    with pytest.raises(ParamsError, match=f"^params.yaml: {said}"):
        check_origin(params.model_copy(update={"model": model}), "params.yaml")
    with pytest.raises(UserError, match=f"^{said}"):
        start_from(model, folder)


def write_pickle(path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, path)


FOREIGN = [
    (write_pickle, "is a pickle .torch.save., which could run any code"),
    (lambda path: path.write_bytes(b"not a model"), "not a whole model file of depthmask"),
]


@pytest.mark.parametrize(("write", "said"), FOREIGN)
def test_a_file_that_is_no_model_file_is_a_line(folder, write, said):
    write(Path("theirs.safetensors"))
    with pytest.raises(UserError, match=said):
        start_from(make_model_params(f"theirs.safetensors#sha256={hash_sha256(Path('theirs.safetensors'))}"), folder)


def test_a_file_that_a_stage_removes_is_refused(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    model = make_model_params(name_another_hash(Path("data/models/finetune.safetensors")))
    with pytest.raises(ParamsError, match=r"model.init: data/models/finetune.safetensors, which the stage finetune removes"):
        check_paths(params.model_copy(update={"model": model}), "params.yaml")


ADDRESSES = [
    ("ftp://host/a.safetensors", "init: ftp://host/a.safetensors: is not the address of a file; allowed: PATH, http"),
    ("hf://owner/name/a.safetensors", "is not the address of a file; allowed: .*hf://OWNER/NAME/PATH@REVISION"),
    ("a.safetensors#sha256=12", "#sha256= is followed by 2 characters; allowed: 64 hex digits"),
    ("https://me:pw@host/a.safetensors", "contains a user or a password, which would be copied into dvc.lock"),
    ("model", "init: model; allowed: null, or PATH"),
]


@pytest.mark.parametrize(("init", "said"), ADDRESSES)
def test_what_names_no_file_is_refused_by_the_schema(params, init, said):
    values = params.model_dump()
    values["model"] |= {"init": init}
    with pytest.raises(ParamsError, match=said) as error:
        make_params(values)
    assert "pw" not in str(error.value) and str(error.value).startswith("params: model.init: ")


def test_a_file_is_fetched_once_resumed_and_checked(folder, raw, split, server: FileServer, monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_FIRST_S", 0.0)
    init = make_file(Path("theirs.safetensors"))
    body = Path("theirs.safetensors").read_bytes()
    url = server.serve("/theirs.safetensors", body, cut_after=len(body) // 2 + 1)
    for _ in range(2):
        start = start_from(make_model_params(f"{url}#sha256={init[-64:]}"), folder)
        assert (start / "init.safetensors").read_bytes() == body
    assert len(server.asked) == 2 and server.asked[1][1] is not None  # the second with a range, and none for the second start
    assert read_record(start).init == InitCard(url, None, init[-64:])


def test_a_fetched_file_needs_its_sha256_too_and_the_line_has_it(folder, server: FileServer):
    init = make_file(Path("theirs.safetensors"))
    url = server.serve("/theirs.safetensors", Path("theirs.safetensors").read_bytes())
    with pytest.raises(UserError, match=f"^model.init: {url} needs its sha256.*add #sha256={init[-64:]} to model.init"):
        start_from(make_model_params(url), folder)
    with pytest.raises(UserError, match=f"^model.init: {url}: sha256 is {init[-64:]}, expected 0{{64}}; correct the address"):
        start_from(make_model_params(f"{url}#sha256={'0' * 64}"), folder)
    with pytest.raises(UserError, match=r"^model.init: .*/gone: the server responded 404: no such file; correct the address"):
        start_from(make_model_params(f"{server.address('/gone')}#sha256={'0' * 64}"), folder)


def test_a_file_of_the_hub_comes_from_its_endpoint_with_the_token(folder, server: FileServer, monkeypatch):
    init = make_file(Path("theirs.safetensors"))
    sent = []
    get = requests.Session.send

    def send(session, request, **options):
        sent.append(request.headers.get("Authorization"))
        return get(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", send)
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address('')}/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.serve("/me/rooms/resolve/refs%2Fpr%2F1/best/m.safetensors", Path("theirs.safetensors").read_bytes())
    url = "hf://me/rooms/best/m.safetensors@refs/pr/1"
    start = start_from(make_model_params(f"{url}#sha256={init[-64:]}"), folder)
    assert hash_sha256(start / "init.safetensors") == init[-64:]
    assert read_record(start).init.source == url and sent == ["Bearer hf_secret"]
    assert not any(b"hf_secret" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_without_an_endpoint_it_is_the_hub(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    remote = files.find_remote("hf://me/rooms/m.safetensors@main")
    assert (remote.address, remote.token) == ("https://huggingface.co/me/rooms/resolve/main/m.safetensors", None)
