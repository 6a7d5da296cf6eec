"""Flips and further models in the stage evaluate: scores of the mean beside those of the trained model, which stay the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_models import make_card
from making_reports import METRICS, Page, build, make_reports

from depthmask.base.errors import ParamsError, UserError
from depthmask.base.files import read_csv, read_json, write_json
from depthmask.evaluation.scores_table import print_scores
from depthmask.models.ensemble_folder import drop_copies, list_members
from depthmask.models.file_header import read_sealed_card
from depthmask.models.inference import PredictedMaps, make_predict
from depthmask.models.model_file import DepthMaskModel, load_model, save_model
from depthmask.params import make_params
from depthmask.preflight.project import check_ensemble
from stages import evaluate as stage

PROJECT = Path(__file__).parents[2]
SIDE_PX, NUM = 32, 6
FLIP, BOTH = {"flip": True}, {"flip": True, "ensemble": "more"}


def save(path: Path, seed: int, **changes) -> Path:
    torch.manual_seed(seed)
    settings = {name: changes.pop(name) for name in ("name", "background_input") if name in changes}
    save_model(DepthMaskModel(replace(make_card(**settings), depth_max=20.0, **changes)), path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder / "trained.safetensors", 0)
    save(folder / "with.safetensors", 1, background_input=True)
    save(folder / "far.safetensors", 2, name="resnet18_shuffle")
    far = load_model(folder / "far.safetensors")
    far.card = replace(far.card, depth_max=40.0)
    save_model(far, folder / "far.safetensors")
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, split) -> Path:
    """The split with statistics, as far as they are read."""
    folder = shutil.copytree(split, tmp_path_factory.mktemp("measured") / "split")
    write_json(folder / "statistics.json", {"channels": {name: {"mean": [0.3], "std": [0.2]} for name in ("mask", "depth")}})
    return folder


@pytest.fixture
def values(params) -> dict:
    values = params.model_dump()
    values["evaluate"] |= {
        "image_size_px": SIDE_PX,
        "num_samples": NUM,
        "baseline_samples": 4,
        "num_shown": 1,
        "batch_size": 4,
        "flip": False,
        "ensemble": "none",
    }
    values["compute"] |= {"threads": 1, "device": "cpu"}
    return values


@pytest.fixture
def folder(tmp_path, monkeypatch, models) -> Path:
    """The working folder, with folders of further models: none, and more with two that differ in all they may."""
    monkeypatch.chdir(tmp_path)
    for name in ("none", "more"):
        Path(name).mkdir()
    for name in ("far", "with"):
        shutil.copy(models / f"{name}.safetensors", "more")
    Path("more/far.md").write_text("its card")
    return tmp_path


def evaluate(values: dict, raw: Path, split: Path, models: Path, **changes) -> dict:
    """metrics.json as the stage writes it."""
    Path("params.yaml").write_text(yaml.safe_dump(values | {"evaluate": values["evaluate"] | changes}))
    outs = {"metrics": "metrics.json", "baselines": "baselines.json", "intervals": "intervals.json", "per-image": "images.csv"}
    outs |= {"samples": "samples", "fixed-samples": "fixed.png", "run": "run.json"}
    inputs = {"raw": raw, "split": split, "weights": models / "trained.safetensors"}
    words = [str(word) for name, path in (inputs | outs).items() for word in (f"--{name}", path)]
    assert stage.main(words) == 0
    return read_json(Path("metrics.json"))


def test_the_mean_is_scored_beside_the_model_whose_scores_stay_as_they_are(folder, values, raw, measured, models, capsys):
    alone = evaluate(values, raw, measured, models)
    rows = read_csv(Path("images.csv"))
    assert alone.keys() == {"test"} and "mean prediction" not in capsys.readouterr().out
    flipped = evaluate(values, raw, measured, models, **FLIP)
    assert "mean prediction of the network and mirror images" in capsys.readouterr().out
    assert flipped["test"] == alone["test"] and read_csv(Path("images.csv")) == rows
    both = evaluate(values, raw, measured, models, **BOTH)
    assert "mean prediction of 3 models and mirror images" in capsys.readouterr().out
    assert both["test"] == alone["test"]
    assert [(one["averaged"]["num_models"], one["averaged"]["num_views"]) for one in (flipped, both)] == [(1, 2), (3, 2)]
    scores = [one["mask"]["mae"] for one in (alone["test"], flipped["averaged"], both["averaged"])]
    assert len(set(scores)) == 3
    assert both["averaged"].keys() - {"num_models", "num_views"} == alone["test"].keys()
    assert both["averaged"]["mask"].keys() == alone["test"]["mask"].keys()
    record = read_json(Path("run.json"))
    assert record["params"]["evaluate"]["flip"] is True
    assert [one["file"] for one in record["extra"]["averaged"]["models"]] == ["more/far.safetensors", "more/with.safetensors"]


def test_the_mean_that_is_scored_is_what_doing_it_by_hand_gives(folder, values, raw, measured, models, monkeypatch):
    """On the test images that the stage scores, recorded as they pass."""
    seen: list[tuple[torch.Tensor, torch.Tensor, PredictedMaps]] = []
    from depthmask.evaluation import averaged

    def record(members, flip):
        predict = average(members, flip)

        def predict_and_record(image, background):
            maps = predict(image, background)
            seen.append((image.clone(), background.clone(), maps))
            return maps

        return predict_and_record

    average = averaged.average
    monkeypatch.setattr(averaged, "average", record)
    evaluate(values, raw, measured, models, **BOTH)
    assert sum(len(image) for image, *_ in seen) == NUM
    image, background, maps = seen[0]
    masks, logs = [], []
    for name, scale in (("trained", 1), ("far", 2), ("with", 1)):
        predict = make_predict(load_model(models / f"{name}.safetensors"), "cpu")
        for step in (1, -1):
            pictures = [picture.flip(-1) if step == -1 else picture for picture in (image, background)]
            one = predict(pictures[0], pictures[1] if name == "with" else None)
            masks.append(one.mask_prob_B1HW.numpy()[..., ::step])
            logs.append(np.log(np.clip(one.depth_B1HW.numpy()[..., ::step] * scale, 1e-3, 1)))
    np.testing.assert_allclose(maps.mask_prob_B1HW, np.mean(masks, axis=0), atol=1e-5)
    np.testing.assert_allclose(maps.depth_B1HW, np.exp(np.mean(logs, axis=0)), rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 6])
def test_batches_change_no_averaged_score(folder, values, raw, measured, models, batch_size):
    expected = evaluate(values, raw, measured, models, **BOTH)["averaged"]
    given = evaluate(values, raw, measured, models, **BOTH, batch_size=batch_size)["averaged"]
    for family in ("mask", "depth"):
        assert given[family] == pytest.approx(expected[family], rel=1e-5, abs=1e-5, nan_ok=True)


def test_a_copy_of_the_trained_model_or_of_another_counts_once(folder, values, raw, measured, models, capsys):
    shutil.copy(models / "trained.safetensors", "none/copy.safetensors")
    assert evaluate(values, raw, measured, models).keys() == {"test"}
    printed = capsys.readouterr().err
    assert f"note: none/copy.safetensors: is the same model as {models}/trained.safetensors, and counts once" in printed
    shutil.copy("more/far.safetensors", "more/x.safetensors")
    kept, lines = drop_copies(list_members(Path("more")), models / "trained.safetensors")
    assert [path.name for path in kept] == ["far.safetensors", "with.safetensors"]
    assert lines == ["more/x.safetensors: is the same model as more/far.safetensors, and counts once"]


def test_a_model_that_may_have_seen_test_images_is_noted(folder, values, raw, measured, models, capsys):
    """Only an exported model says how its data were split."""

    def evaluate_with(**said) -> str:
        model = load_model(models / "far.safetensors")
        model.card = replace(model.card, release={"params": said} if said else None)
        save_model(model, Path("none/m.safetensors"))
        evaluate(values, raw, measured, models, ensemble="none")
        return "".join(line for line in capsys.readouterr().err.splitlines(keepends=True) if line.startswith("note: "))

    too_good = "so test images may be among its training images, which would make the average's scores too good\n"
    assert evaluate_with() == f"note: none/m.safetensors: does not say how its data were split, {too_good}"
    own = {key: value for key, value in values["split"].items() if key != "seed"}
    assert evaluate_with(seed=values["seed"], split=own) == ""
    assert evaluate_with(seed=7, split=own | {"seed": values["seed"]}) == ""
    other = f"note: none/m.safetensors: was trained on another split (seed 7), {too_good}"
    assert evaluate_with(seed=7, split=own) == other
    assert evaluate_with(seed=7, split=own | {"test": 0.125}) == other


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


UNFIT = {
    "changed": (lambda: spoil(Path("more/far.safetensors")), "more/far.safetensors: not a whole model file .*sha256 differs"),
    "cut off": (
        lambda: Path("more/far.safetensors").write_bytes(Path("more/far.safetensors").read_bytes()[:-9]),
        "more/far.safetensors: not a whole model file",
    ),
    "a pickle": (lambda: torch.save({}, "more/b.safetensors"), "more/b.safetensors: is a pickle"),
    "another kind": (lambda: Path("more/b.onnx").write_text(""), r"more/b.onnx: is not a model file; only \.safetensors files"),
    "a folder": (lambda: Path("more/old").mkdir(), r"more/old: is a folder; only \.safetensors files and their cards"),
    "a link to nothing": (lambda: Path("more/b.safetensors").symlink_to("gone"), "more/b.safetensors: no such file"),
    "nearer": (
        lambda: Path("more/b.safetensors").write_bytes(save_with_depth(8.0)),
        r"more/b.safetensors: predicts depth up to 8 \(metre\), but the test set needs it up to 20 or more \(metre\); remove it",
    ),
    "relative": (
        lambda: Path("more/b.safetensors").write_bytes(save_with_depth(20.0, "relative")),
        r"more/b.safetensors: predicts depth up to 20 \(relative\), but the test set needs it up to 20 or more \(metre\)",
    ),
    "of another size": (
        lambda: None,
        "more/far.safetensors: 33 px do not fit model.name: resnet18_shuffle; allowed: multiples of 8",
    ),
}


def save_with_depth(depth_max: float, unit: str = "metre") -> bytes:
    torch.manual_seed(0)
    path = Path("other.safetensors")
    save_model(DepthMaskModel(replace(make_card(), depth_max=depth_max, depth_unit=unit)), path)
    return path.read_bytes()


@pytest.mark.parametrize("case", UNFIT)
def test_a_model_that_does_not_fit_is_refused_by_the_check_in_a_line(folder, values, case):
    make, words = UNFIT[case]
    values["evaluate"] |= {"ensemble": "more", "image_size_px": 33 if case == "of another size" else SIDE_PX}
    make()
    with pytest.raises(ParamsError, match=rf"^params\.yaml: evaluate\.ensemble: {words}") as raised:
        check_ensemble(make_params(values), "params.yaml")
    assert "\n" not in str(raised.value)


def test_the_check_accepts_what_fits_and_refuses_a_background_that_the_data_do_not_have(folder, values):
    values["evaluate"]["ensemble"] = "more"
    values["model"]["background_input"] = False
    check_ensemble(make_params(values), "params.yaml")
    values["download"] |= {"source": "flat_named", "path": "rooms.zip"}
    with pytest.raises(ParamsError, match=r"more/with\.safetensors takes the clean background, which the data do not have"):
        check_ensemble(make_params(values), "params.yaml")


def test_a_card_read_without_torch_is_the_model_s(models):
    for path in [*models.iterdir(), *(PROJECT / "workflow/depthmask/serving/shipped_models").glob("*.safetensors")]:
        assert read_sealed_card(path) == load_model(path).card
    with pytest.raises(UserError, match="no such file, not a model file"):
        read_sealed_card(models / "none.safetensors")


AVERAGED = {
    "num_models": 2,
    "num_views": 1,
    "num_images": 2,
    "num_images_with_depth": 1,
    "mask": METRICS["test"]["mask"] | {"iou": 0.83456},
    "depth": METRICS["test"]["depth"] | {"delta1": 0.7891},
}


ENDS = {"iou_low": 0.825, "iou_high": 0.845}


def test_the_terminal_shows_the_mean_beside_the_network(capsys):
    print_scores(METRICS | {"averaged": AVERAGED | {"mask": AVERAGED["mask"] | ENDS}}, "metre")
    before, _, after = capsys.readouterr().out.partition("mean prediction of 2 models")
    assert "averaged" not in before and "0.835" not in before
    (line,) = (line for line in after.splitlines() if line.strip().startswith("mask IoU"))
    assert line.split() == ["mask", "IoU", "0.812", "0.835", "0.825", "to", "0.845"]


def test_the_page_has_a_column_for_the_mean(tmp_path):
    reports, split = make_reports(tmp_path)
    assert "mean of" not in Page(build(reports, split)).text
    metrics = read_json(reports / "metrics.json")
    write_json(reports / "metrics.json", metrics | {"averaged": AVERAGED | {"num_views": 2, "mask": AVERAGED["mask"] | ENDS}})
    text = Page(build(reports, split)).text
    assert "the network mean of 2 models and mirror images all foreground" in text
    assert "0.812 0.710 to 0.910 0.835 0.825 to 0.845 0.234" in text
    write_json(reports / "metrics.json", metrics | {"averaged": {"mask": {}}})
    with pytest.raises(UserError, match=r"metrics\.json: lacks depth, num_models, num_views"):
        build(reports, split)
