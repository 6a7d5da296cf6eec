"""Fetching a pseudo-label model from a Hub on loopback, and which weights are accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from making_depth_models import make_depth_anything, make_dpt_model, make_labelled, read_folder, write_photos
from safetensors.torch import load_file, save_file
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.catalog.model_folder import find_model
from depthmask.download.fetch import fetch
from depthmask.pseudo_labels.network import UNUSED_WEIGHTS

pytest.importorskip("transformers", reason="transformers is not installed (extra pseudo-labels)")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_depth_anything(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def assets(tmp_path, small_demo) -> Path:
    return write_photos(tmp_path / "photos", small_demo)


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", {"format": "pt"})


def test_a_model_that_lacks_weights_is_rejected(params, tmp_path, assets, model):
    shutil.copytree(model, tmp_path / "lacks")
    download = make_labelled(params, "assets", assets, tmp_path / "lacks")
    change_weights(tmp_path / "lacks", lambda weights: {k: v for k, v in weights.items() if not k.startswith("head.conv3")})
    with pytest.raises(UserError, match=r"lacks 2 of the network's weights, as head\.conv3\.bias"):
        fetch(download, tmp_path / "raw", tmp_path / "cache")
    (tmp_path / "lacks/model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"lacks cannot be loaded \(.*fetch it again, or name another") as error:
        fetch(download, tmp_path / "raw", tmp_path / "cache")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [make_depth_anything, make_dpt_model])
def test_the_weights_that_may_be_missing_are_of_no_use(params, tmp_path, assets, make):
    make(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "lacks")
    named = [name for name in load_file(tmp_path / "whole/model.safetensors") if UNUSED_WEIGHTS.fullmatch(name)]
    assert any("residual_layer1" in name for name in named)
    change_weights(tmp_path / "lacks", lambda weights: {k: v for k, v in weights.items() if k not in named})
    made = []
    for name in ("whole", "lacks"):
        fetch(make_labelled(params, "assets", assets, tmp_path / name), tmp_path / f"raw_{name}", tmp_path / "cache")
        made.append(read_folder(tmp_path / f"raw_{name}/bg_depth"))
    assert made[0] == made[1]


@pytest.fixture
def hub(model, tmp_path, monkeypatch):
    """A Hugging Face Hub on loopback, as far as a model is fetched from one."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    with run_server() as server:
        server.commit = commit
        names = [file.name for file in model.iterdir()]
        listing = json.dumps({"id": "some/tiny", "sha": commit, "siblings": [{"rfilename": name} for name in [*names, "x.bin"]]})
        for revision in (commit, "main"):
            server.serve(f"/api/models/some/tiny/revision/{revision}", listing.encode(), content_type="application/json")
        # asked for by huggingface_hub 2, which comes with transformers 5
        tree = [{"type": "file", "path": file.name, "oid": "0" * 40, "size": file.stat().st_size} for file in model.iterdir()]
        server.serve(
            f"/api/models/some/tiny/tree/{commit}",
            json.dumps(tree).encode(),
            content_type="application/json",
        )
        for file in model.iterdir():
            headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            server.serve(f"/some/tiny/resolve/{commit}/{file.name}", file.read_bytes(), headers=headers)
        for code, status, name in (("RepoNotFound", 401, "none"), ("GatedRepo", 403, "gated"), ("RevisionNotFound", 404, "tiny")):
            answer = (status, {"X-Error-Code": code, "X-Error-Message": "no"}, b"{}")
            path = f"/api/models/some/{name}/revision/{'main' if name != 'tiny' else 'v9'}"
            server.serve(path, answer=lambda _, answer=answer: answer)
        monkeypatch.setattr(constants, "ENDPOINT", server.address(""))
        template = server.address("") + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)  # before hub 2
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield server


def test_a_model_of_the_hub_is_fetched_and_its_commit_recorded(params, tmp_path, assets, model, hub, monkeypatch):
    download = make_labelled(params, "assets", assets, "some/tiny")
    found = find_model(download, with_weights=False)
    assert (found.revision, sorted(file.name for file in found.path.iterdir())) == (
        hub.commit,
        ["config.json", "preprocessor_config.json"],
    )
    record = fetch(download, tmp_path / "raw", tmp_path / "cache")
    assert record["pseudo_labels"]["revision"] == hub.commit
    fetch(make_labelled(params, "assets", assets, model), tmp_path / "local", tmp_path / "cache")
    assert read_folder(tmp_path / "raw/bg_depth") == read_folder(tmp_path / "local/bg_depth")
    assert not any("x.bin" in path for path, _ in hub.asked)
    # without a connection the cache does
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_model(make_labelled(params, "assets", assets, "some/tiny", revision=hub.commit)).path == found.path


@pytest.mark.parametrize(
    ("name", "revision", "printed"),
    [
        ("some/none", None, "no such folder, and no such public model on the Hugging Face Hub"),
        ("some/gated", None, r"available only after accepting its terms; do so at https://huggingface\.co/some/gated"),
        ("some/tiny", "v9", r"download\.pseudo_labels\.revision: v9: some/tiny has no such revision"),
        ("../no/such/folder", None, "neither a folder nor a model on the Hugging Face Hub"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_one_line(params, assets, hub, name, revision, printed):
    with pytest.raises(UserError, match=printed) as error:
        find_model(make_labelled(params, "assets", assets, name, revision=revision))
    assert "\n" not in str(error.value)


def test_a_connection_that_breaks_off_is_one_line(params, assets, hub, monkeypatch):
    import huggingface_hub

    class ReadError(Exception):
        """Stands for one of the HTTP library, which is no OSError."""

    def break_off(*_, **__):
        raise ReadError("peer closed connection\nwithout sending the complete body")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", break_off)
    with pytest.raises(UserError, match=r"cannot be fetched \(peer closed connection without sending the complete body\); try"):
        find_model(make_labelled(params, "assets", assets, "some/tiny"))


def test_a_hub_that_is_not_reached_is_one_line(params, assets, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be fetched: it is not in the cache, and the Hugging Face Hub cannot be reached"):
        find_model(make_labelled(params, "assets", assets, "some/unheard"))
