"""Pseudo-label models and named sets that are rejected before data are touched, and where labels go. Needs no transformers."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from making_depth_models import make_section
from making_layouts import WRITERS, make_composites, make_download, save

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import write_csv
from depthmask.catalog import model_folder
from depthmask.catalog.named_sets import COLUMNS
from depthmask.params import make_params
from depthmask.pseudo_labels.labels import encode
from depthmask.sources import find_source_class
from stages import check
from stages.leaderboard import check as leaderboard_check

ROOT = Path(__file__).resolve().parents[2]
GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())
RELATIVE = {"unit": "relative", "polarity": "near_is_large", "max": 1.0, "raw_max": 65535, "raw_unknown": None}
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 65535, "raw_unknown": None}
CONFIG = {"model_type": "depth_anything", "architectures": ["DepthAnythingForDepthEstimation"], "patch_size": 14}


def make_values(model, depth=RELATIVE, **changes) -> dict:
    values = copy.deepcopy(GOOD)
    values["download"] |= {
        "source": "assets",
        "path": "assets",
        "depth": dict(depth),
        "pseudo_labels": make_section(model),
        **changes,
    }
    return values


@pytest.fixture
def installed(monkeypatch):
    """The package counts as installed: what is checked of a folder's settings does not import it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "transformers" or find_spec(name, *more))


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder with the settings of a network, and a file where its weights would be."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "DPTImageProcessor"}))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def run_check(folder: Path, values: dict, capsys) -> tuple[int, str]:
    for name in ("bg/room.jpg", "fg/thing.png"):  # names are all that is looked at
        (folder / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "assets" / name).touch()
    if values["download"]["path"] == "assets":
        values["download"]["path"] = str(folder / "assets")
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    code = check.main(["--params", str(path), "--out", str(folder / "check.txt")])
    printed = capsys.readouterr().err
    assert printed.count("\n") <= 1
    assert (folder / "check.txt").exists() == (code == 0)
    return code, printed


def test_a_model_that_fits_passes(tmp_path, model, installed, capsys):
    code, printed = run_check(tmp_path, make_values(model), capsys)
    assert (code, printed.partition(";")[0]) == (0, f"check  {tmp_path / 'params.yaml'}: ok")


def test_without_its_package_the_extra_is_named(tmp_path, model, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None)
    code, printed = run_check(tmp_path, make_values(model), capsys)
    assert code == 2
    assert (
        "download.pseudo_labels: needs the package transformers, which is not installed; pip install -e '.[pseudo-labels]'"
        in printed
    )


def change_config(**changes):
    return lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | changes))


# what is done to the folder, changes to the params, what is printed
MISFITS = [
    (
        change_config(architectures=["Dinov2Model"]),
        {},
        "not a supported depth network .*: depth_anything, .*Dino",
    ),
    (change_config(model_type="zoedepth"), {}, "not a supported depth network .*allowed: DepthAnythingForDepthEstimation"),
    (change_config(architectures=None), {}, "not a supported depth network"),
    (
        change_config(model_type="dpt", architectures=["DPTForDepthEstimation"], backbone_config={"model_type": "dinov2"}),
        {},
        "does not say whether it predicts metres or disparity",
    ),
    (
        change_config(depth_estimation_type="metric", max_depth=20),
        {},
        r"download\.depth: {unit: relative, polarity: near_is_large}, but .* predicts metres; .*{unit: metre, ",
    ),
    (lambda folder: None, {"depth": METRES}, r"predicts disparity without a scale; allowed with it: {unit: relative, "),
    (lambda folder: (folder / "config.json").unlink(), {}, "has no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), {}, r"config\.json: is not JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), {}, r"config\.json: contains no settings"),
    (lambda folder: (folder / "preprocessor_config.json").unlink(), {}, "has no preprocessor_config.json"),
    (lambda folder: (folder / "preprocessor_config.json").write_text("{}"), {}, "is not for a DPTImageProcessor"),
    (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), {}, "has no .*safetensors file"),
    (
        lambda folder: (folder.parent / "assets/bg_depth").mkdir(parents=True),
        {},
        "bg_depth has depth maps already; allowed: null",
    ),
]


@pytest.mark.parametrize(("spoil", "changes", "printed"), MISFITS, ids=range(len(MISFITS)))
def test_a_model_that_does_not_fit_is_rejected_before_data_are_touched(
    tmp_path, model, installed, capsys, spoil, changes, printed
):
    spoil(model)
    values = make_values(model, **{"path": str(tmp_path / "assets"), **changes})
    code, line = run_check(tmp_path, values, capsys)
    assert code == 2
    assert line.startswith(f"error: {tmp_path}/params.yaml: download.") or "is not JSON" in line or "no settings" in line
    with pytest.raises(UserError, match=printed):
        raise UserError(line)


def test_a_folder_has_no_revisions(tmp_path, model, installed, capsys):
    values = make_values(model)
    values["download"]["pseudo_labels"]["revision"] = "main"
    code, printed = run_check(tmp_path, values, capsys)
    assert (code, "is a folder, which has none; allowed: null" in printed) == (2, True)


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"source": "demo"}, r"download\.pseudo_labels: the demo pack has depth maps already"),
        ({"depth": RELATIVE | {"raw_max": 255}}, r"download\.depth\.raw_max: 255, raw_unknown: null, .*raw_max: 65535"),
        ({"depth": METRES | {"raw_unknown": 0}}, r"download\.depth\.raw_max: 65535, raw_unknown: 0, "),
        ({"depth": RELATIVE | {"polarity": "near_is_small"}}, r"download\.depth: {unit: relative, polarity: near_is_small} is"),
        ({"pseudo_labels": {"modle": "x"}}, r"download\.pseudo_labels\.m.*"),
        (
            {
                "pseudo_labels": {
                    "model": "x",
                    "revision": "a b",
                    "image_size_px": 28,
                    "batch_size": 1,
                    "device": "cpu",
                    "threads": 1,
                }
            },
            r"download\.pseudo_labels\.revision: 'a b'",
        ),
        (
            {
                "pseudo_labels": {
                    "model": "x",
                    "revision": None,
                    "image_size_px": 28,
                    "batch_size": 0,
                    "device": "cpu",
                    "threads": 1,
                }
            },
            r"download\.pseudo_labels\.batch_size: 0",
        ),
    ],
)
def test_what_the_schema_rejects(changes, printed):
    with pytest.raises(ParamsError, match=printed) as error:
        make_params(make_values("x", **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layout", WRITERS)
def test_labels_belong_where_the_layout_has_depth_maps(params, tmp_path, layout):
    changes, _ = WRITERS[layout](tmp_path, make_composites(2, 2, 1))
    download = make_download(params, layout, tmp_path, changes)
    source = find_source_class(layout)(tmp_path, download)
    keys = list(source._depths)
    for depth in source._depths.values():
        Path(depth).unlink()
    places = {key: place for key, _, place in find_source_class(layout)(tmp_path, download).list_unlabelled()}
    for place in places.values():
        save(place, np.zeros((48, 48), np.uint16))
    labelled = find_source_class(layout)(tmp_path, download)
    assert {key: str(place) for key, place in places.items()} == labelled._depths
    assert list(labelled._depths) == keys


def test_disparity_is_stretched_to_its_own_range():
    depth = np.array([[2.0, 3.0], [4.0, 6.0]], np.float32)
    assert encode(depth, "disparity", 10.0).tolist() == [[0, 16384], [32768, 65535]]
    assert np.array_equal(encode(7 * depth - 100, "disparity", 10.0), encode(depth, "disparity", 10.0))


def test_metres_are_of_the_maximum_and_farther_counts_as_that():
    depth = np.array([[0.0, 2.5], [10.0, 30.0]], np.float32)
    assert encode(depth, "metres", 10.0).tolist() == [[0, 16384], [65535, 65535]]


@pytest.mark.parametrize("depth", [np.zeros((2, 2)), np.full((2, 2), 3.0), np.array([[1.0, np.nan]]), np.array([[1.0, np.inf]])])
def test_what_says_nothing_about_depth_is_no_label(depth):
    for gives in ("disparity", "metres"):
        with pytest.raises(UserError, match="same depth everywhere, or none"):
            encode(depth.astype(np.float32), gives, 10.0)


def write_sets(folder: Path, layout: str) -> Path:
    row = dict.fromkeys(COLUMNS, "") | {"name": "rooms", "layout": layout, "urls": "https://host/rooms.zip", "licence": "CC0"}
    write_csv(folder / "sets.csv", COLUMNS, [row])
    return folder / "sets.csv"


@pytest.mark.parametrize(
    ("layout", "source", "backgrounds", "printed"),
    [
        ("flat_numbered", "rooms", None, "download.source: rooms (of the layout flat_numbered) does not have unless"),
        ("flat_numbered", "rooms", "bare", None),
        ("assets", "rooms", None, None),
        ("assets", "halls", None, "no set halls in"),
    ],
)
def test_a_named_set_without_what_the_network_needs_is_rejected_early(tmp_path, capsys, layout, source, backgrounds, printed):
    values = copy.deepcopy(GOOD)
    values["download"] |= {"source": source, "path": str(write_sets(tmp_path, layout)), "backgrounds": backgrounds}
    code, line = run_check(tmp_path, values, capsys)
    assert (code == 0 and ": ok; about" in line) if printed is None else (code == 2 and printed in line)
    values["model"]["background_input"] = False
    assert run_check(tmp_path, values, capsys)[0] == (2 if source == "halls" else 0)


def test_the_leaderboard_rejects_such_a_set_and_names_the_recipe(tmp_path, capsys):
    values = yaml.safe_load((ROOT / "leaderboard/params.yaml").read_text())
    values["download"] |= {"source": "rooms", "path": str(write_sets(tmp_path, "parts"))}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    recipes = str(ROOT / "workflow/recipes")
    assert leaderboard_check.main(["--params", str(path), "--recipes", recipes, "--out", str(tmp_path / "check.txt")]) == 2
    printed = capsys.readouterr().err
    assert "with recipe default: model.background_input: true needs clean backgrounds" in printed
    assert not (tmp_path / "check.txt").exists()


def test_a_source_with_depth_maps_is_not_labelled(params, small_demo):
    from depthmask.pseudo_labels.labels import label_source

    source = find_source_class("assets")(small_demo, make_download(params, "assets", small_demo, {}))
    with pytest.raises(UserError, match=r"demo: has depth maps already; set download\.pseudo_labels to null"):
        label_source(source, Path("nowhere"), None, Path("nowhere"))


def test_what_is_allowed_of_depth_is_said_of_each_kind():
    assert set(model_folder.DEPTH_OF) == {"disparity", "metres"}
    for kind in model_folder.DEPTH_OF.values():
        make_params(make_values("x", RELATIVE | kind))
