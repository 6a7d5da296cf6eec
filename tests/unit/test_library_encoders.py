"""Encoders of timm and transformers: maps, gradients, files without their folder, and what is rejected."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from making_encoders import LICENCE, NORMALISED, TINY, make_timm_folder, make_transformers_folder
from making_models import make_settings
from safetensors.torch import load_file, save_file

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.encoders import make_encoder
from depthmask.encoders.adapter import REDUCTIONS, choose_maps
from depthmask.models.model_card import EncoderCard
from depthmask.models.model_file import load_model, make_model, save_model
from depthmask.sources import RECORD
from depthmask.training.stage import open_new_model
from depthmask.weights import libraries
from depthmask.weights.libraries import find_library_encoder
from depthmask.weights.start import write_start
from depthmask.weights.start_folder import read_record

TIMM = ("resnet10t", "convnext_atto", "test_vit", "levit_128s")  # the last takes images of 224 x 224 px only
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
DEPTH = {"unit": "metre", "max": 20.0}
CARD = EncoderCard("pretrained", "somewhere", LICENCE, "0" * 64)


def _import_timm() -> None:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported (extra encoders): {error}")


@pytest.fixture(scope="module", params=[*TINY, *(f"timm:{name}" for name in TIMM)])
def folder(request, tmp_path_factory) -> str:
    """A value of `model.encoder`."""
    place = tmp_path_factory.mktemp("encoder") / "tiny"
    if request.param in TINY:
        pytest.importorskip("transformers", reason="transformers is not installed (extra encoders)")
        return f"transformers:{make_transformers_folder(place, request.param)}"
    _import_timm()
    return f"timm:{make_timm_folder(place, request.param.removeprefix('timm:'))}"


@pytest.fixture
def swin(tmp_path) -> Path:
    pytest.importorskip("transformers", reason="transformers is not installed (extra encoders)")
    return make_transformers_folder(tmp_path / "swin", "swin")


@pytest.mark.parametrize(
    ("reductions", "chosen"),
    [
        ((2, 4, 8, 16, 32), (1, 2, 3, 4)),
        ((4, 8, 8, 16, 32), (0, 2, 3, 4)),  # of two maps of one size the deeper
        ((16,) * 12, (2, 5, 8, 11)),
        ((14,) * 3, (0, 1, 2, 2)),
        ((8, 16, 32), (0, 0, 1, 2)),
    ],
)
def test_maps_are_chosen_by_resolution_and_else_by_depth(reductions, chosen):
    assert choose_maps(reductions) == chosen


def test_maps_have_the_promised_sizes_and_all_layers_get_gradients(folder):
    encoder = make_encoder(folder, find_library_encoder(folder, False).config).train()
    torch.use_deterministic_algorithms(True)
    try:
        for height, width in ((32, 32), (36, 100), (68, 44)):
            maps = encoder(torch.rand(2, 3, height, width))
            sizes = [(math.ceil(height / r), math.ceil(width / r)) for r in REDUCTIONS]
            assert [tuple(one.shape) for one in maps] == [(2, c, *size) for c, size in zip(encoder.channels, sizes, strict=True)]
        sum((one * torch.rand_like(one)).sum() for one in maps).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(encoder.stages) >= 4
    layers = [stage for stage in encoder.stages if not isinstance(stage, torch.nn.LayerNorm)]  # those of whole models are unused
    gradients = [[p.grad for p in layer.parameters() if p.grad is not None] for layer in layers]
    assert all(torch.isfinite(one).all() for of_layer in gradients for one in of_layer)
    is_trained = [any(one.abs().sum() > 0 for one in of_layer) for of_layer in gradients]
    assert all(is_trained[:-1])  # LeViT's last map is of 1/56
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.isfinite(one).all() for one in encoder(torch.rand(2, 3, 64, 64)))


def test_published_weights_are_those_of_the_file_with_its_normalisation_and_licence(folder):
    found = find_library_encoder(folder, True)
    weights = Path(folder.partition(":")[2]) / "model.safetensors"
    assert (found.image_mean, found.image_std) == (tuple(NORMALISED["image_mean"]), tuple(NORMALISED["image_std"]))
    assert (found.card.licence, found.card.sha256) == (LICENCE, hash_file(weights))
    stored = {(tuple(t.shape), t.double().sum().item()) for t in load_file(weights).values()}
    given = {(tuple(t.shape), t.double().sum().item()) for t in found.tensors.values() if t.is_floating_point()}
    constant = {(shape, total) for shape, total in given if total in (0.0, float(math.prod(shape)))}  # norms that no file has
    assert given - constant <= stored and len(given - constant) >= 10


def test_a_file_is_read_without_the_folder_of_its_encoder(folder, tmp_path):
    found = find_library_encoder(folder, True)
    settings = make_settings("encoder_decoder", encoder=folder + "_moved", background_input=True)
    torch.manual_seed(0)
    model = make_model(settings, CHANNELS, DEPTH, encoder=found.card, encoder_config=found.config).eval()
    model.network.encoder.load_state_dict(found.tensors)
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.card == model.card
    images = torch.rand(2, 1, 3, 40, 56)
    with torch.inference_mode():
        assert torch.equal(loaded(*images).depth_B1HW, model(*images).depth_B1HW)


@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_a_training_starts_from_what_was_written(folder, params, tmp_path, weights):
    model = params.model.model_copy(update={"name": "encoder_decoder", "encoder": folder, "encoder_weights": weights})
    start = tmp_path / "start"
    start.mkdir()
    written = write_start(model, start)
    record = read_record(start)
    assert record == written
    assert record.encoder_config is not None
    (tmp_path / "statistics.json").write_text(json.dumps({"channels": CHANNELS}))
    (tmp_path / RECORD).write_text(json.dumps({"download": {"depth": DEPTH}}))
    first = open_new_model(model, 0, tmp_path, tmp_path, start)
    if weights == "none":
        assert (record.encoder, record.image_mean, sorted(start.iterdir())) == (None, None, [start / "start.json"])
        assert first.card.encoder is None
    else:
        expected, given = find_library_encoder(folder, True).tensors, first.network.encoder.state_dict()
        assert all(torch.equal(given[name], tensor) for name, tensor in expected.items())
        assert (first.card.encoder, first.card.image_mean) == (record.encoder, tuple(NORMALISED["image_mean"]))


def test_position_embeddings_stay_and_frozen_stages_begin_at_the_image(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed (extra encoders)")
    for kind, first, second in (("dinov2", "Dinov2Embeddings", "Dinov2Layer"), ("swin", "SwinEmbeddings", "SwinStage")):
        text = f"transformers:{make_transformers_folder(tmp_path / kind, kind)}"
        encoder = make_encoder(text, find_library_encoder(text, False).config)
        assert [type(stage).__name__ for stage in encoder.stages[:2]] == [first, second]
        for name, parameter in encoder.named_parameters():
            assert parameter.requires_grad != ("position_embeddings" in name), name


def test_a_repository_is_named_with_the_commit_that_was_fetched(swin, monkeypatch):
    asked, commit = [], "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(swin, swin.parent / commit)

    def fetch(name, revision, patterns, key, revision_key):
        asked.append((name, revision, sorted(patterns)))
        return swin.parent / commit

    monkeypatch.setattr(libraries, "fetch_repository", fetch)
    found = find_library_encoder("transformers:some/swin@v1.0", True)
    assert found.card.source == f"some/swin@{commit}"
    assert asked == [("some/swin", "v1.0", ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"])]


def test_published_weights_of_timm_come_from_its_repository(tmp_path, monkeypatch):
    _import_timm()
    folder, asked = make_timm_folder(tmp_path / "commit", "resnet10t"), []
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")

    def fetch(name, *_):
        asked.append(name)
        return folder

    monkeypatch.setattr(libraries, "fetch_repository", fetch)
    found = find_library_encoder("timm:resnet10t.c3_in1k", True)
    assert asked == ["timm/resnet10t.c3_in1k"]
    assert (found.image_mean, found.card.licence) == ((0.485, 0.456, 0.406), "apache-2.0")  # as timm states them
    assert found.card.source.endswith(": timm/resnet10t.c3_in1k@commit")
    with pytest.raises(UserError, match="timm has no encoder resnet10x; similar: resnet10t"):
        find_library_encoder("timm:resnet10x", False)
    with pytest.raises(UserError, match=r"timm has no weights c9; it has: resnet10t\.c3_in1k"):
        find_library_encoder("timm:resnet10t.c9", True)


def test_a_file_that_lacks_weights_of_timm_is_rejected(tmp_path):
    _import_timm()
    folder = make_timm_folder(tmp_path / "tiny", "resnet10t")
    weights = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in weights.items() if name != "layer4.0.conv1.weight"}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"lacks 1 of the encoder's weights, as .*layer4.0.conv1.weight; choose others"):
        find_library_encoder(f"timm:{folder}", True)


def _change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


SPOILED = {  # of a folder of transformers: what is done to it, what the line says
    "no folder": (lambda folder: shutil.rmtree(folder), "no such folder; a repository of the Hugging Face Hub is written"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "no encoder": (lambda folder: _change(folder / "config.json", model_type="bert"), "model_type: bert is no encoder"),
    "a huge layer": (lambda folder: _change(folder / "config.json", embed_dim=10**9), "embed_dim: 1000000000 is impossible"),
    "a wrong shape": (
        lambda folder: _change(folder / "config.json", embed_dim=16),
        "lacks .* of the encoder's weights|cannot be loaded",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    "damaged weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"cut off"), "cannot be loaded"),
    "grey images": (lambda folder: _change(folder / "preprocessor_config.json", image_mean=[0.5]), "is not made for RGB images"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_folder_that_cannot_be_used_is_rejected_in_one_line(swin, name):
    spoil, said = SPOILED[name]
    spoil(swin)
    with pytest.raises(UserError, match=said) as error:
        find_library_encoder(f"transformers:{swin}", True)
    assert "\n" not in str(error.value)


def test_weights_that_a_folder_lacks_are_an_error(swin):
    weights = load_file(swin / "model.safetensors")
    lacking = next(name for name in weights if name.endswith("patch_embeddings.projection.weight"))
    save_file({name: one for name, one in weights.items() if name != lacking}, swin / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the encoder's weights, as .*projection\.weight"):
        find_library_encoder(f"transformers:{swin}", True)


HOSTILE = {  # of a model file's card: settings of its encoder, what the line says
    "fetches": ({"model_type": "timm_backbone", "backbone": "resnet18"}, "is no encoder of transformers"),
    "code": ({"model_type": "swin", "auto_map": {"AutoBackbone": "code.Evil"}}, "unknown auto_map"),
    "a kernel": ({"model_type": "swin", "_attn_implementation": "somebody/kernel"}, "unknown _attn_implementation"),
    "all memory": ({"model_type": "swin", "embed_dim": 1 << 40}, "embed_dim: .* is impossible"),
    "no end": ({"model_type": "dinov2", "num_hidden_layers": 16_000}, "num_hidden_layers: .* is impossible"),
    "nonsense": ({"model_type": "swin", "num_heads": "many"}, "its encoder"),
    "nothing": (None, "cannot be built without its configuration"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_builds_and_fetches_nothing(swin, tmp_path, monkeypatch, name):
    config, said = HOSTILE[name]
    text = f"transformers:{swin}"
    card = make_model(
        make_settings("encoder_decoder", encoder=text), CHANNELS, DEPTH, encoder_config=find_library_encoder(text, False).config
    ).card
    file = tmp_path / "hostile.safetensors"
    fake = torch.nn.Module()
    fake.card = card
    fake.register_buffer("weight", torch.zeros(2))
    save_model(fake, file, encoder_config=config)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connects"))
    with pytest.raises(UserError, match=said) as error:
        load_model(file)
    assert "\n" not in str(error.value)


def test_a_file_with_a_model_that_timm_lacks_is_rejected(tmp_path):
    _import_timm()
    model = make_model(
        make_settings("encoder_decoder", encoder="timm:resnet10t"), CHANNELS, DEPTH, encoder_config={"architecture": "resnet10t"}
    )
    for config, said in (
        ({"architecture": "hf-hub:somebody/evil"}, "timm has no encoder hf-hub:somebody/evil"),
        ({"architecture": "resnet10t", "pretrained": True}, "is its architecture alone"),
    ):
        save_model(model, tmp_path / "m.safetensors", encoder_config=config)
        with pytest.raises(UserError, match=said):
            load_model(tmp_path / "m.safetensors")


def test_an_encoder_learns(folder):
    found = find_library_encoder(folder, True)
    torch.manual_seed(0)
    model = make_model(make_settings("encoder_decoder", encoder=folder), CHANNELS, DEPTH, encoder_config=found.config).train()
    model.network.encoder.load_state_dict(found.tensors)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.05)
    images, losses = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), []
    before = {name: p.detach().clone() for name, p in model.network.encoder.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        loss = (model(images).depth_B1HW - 0.2).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = [name for name, p in model.network.encoder.named_parameters() if not torch.equal(p, before[name])]
    assert len(changed) > len(before) / 2
