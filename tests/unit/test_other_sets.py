"""Other data sets: how they are declared and compared, what they share with the training data, and their scores."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_layouts import make_composites, write_photos
from making_mixtures import COPIED, ROOM_DEPTH, write_rooms
from making_models import make_card
from tiny_project import TINY, change_params

from depthmask.base.errors import ParamsError
from depthmask.base.files import read_csv, read_json
from depthmask.commands import check as check_command
from depthmask.commands import scores as scores_command
from depthmask.data.batch import ByteBatch
from depthmask.evaluation.baselines import Baseline
from depthmask.evaluation.score import score_samples
from depthmask.models.inference import PredictedMaps
from depthmask.models.model_file import DepthMaskModel, save_model
from depthmask.other_sets.comparing import compare_depths
from depthmask.params import DepthParams, load_params, make_params
from depthmask.preflight.estimate import estimate_run
from depthmask.preflight.leftovers import remove_gone_sets
from depthmask.preflight.paths import check_other_layouts, check_paths
from stages import download as download_stage
from stages import evaluate_other as evaluate_stage
from stages import pack as pack_stage
from stages import split as split_stage

PROJECT = Path(__file__).parents[2]
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 255, "raw_unknown": None}
NEAR_IS_SMALL = METRES | {"unit": "relative", "max": 1.0}
NEAR_IS_LARGE = NEAR_IS_SMALL | {"polarity": "near_is_large"}
ROOMS = {"source": "assets", "path": "rooms", "depth": METRES}


def declare(model_depth=None, **more) -> dict:
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    values["download"]["depth"] |= model_depth or {}
    values["evaluate"]["more"] = {name: ROOMS | changes for name, changes in more.items()}
    return values


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"a": {"weight": 1.0}}, r"evaluate.more.a.weight: unknown key; allowed keys: path, source"),
        ({"a": {"num_samples": 0}}, r"evaluate.more.a.num_samples: 0; allowed: greater than or equal to 1"),
        ({"A b": {}}, r"evaluate.more: 'A b'; allowed: names of at most 40 lower-case letters"),
        ({"a": {"path": "data/demo/"}}, r"evaluate.more.a.path: data/demo/ is also that of download, which is trained on"),
        ({"a": {"source": "flat_numbered"}}, r"which evaluate.more.a.source: flat_numbered does not have unless"),
        ({"a": {"cutout_group": "("}}, r"evaluate.more.a.cutout_group: \( is not a regular expression"),
    ],
)
def test_a_mistake_in_another_set_is_named_by_its_key(more, message):
    with pytest.raises(ParamsError, match=message):
        make_params(declare(**more))


def test_sets_are_a_mapping():
    values = declare() | {}
    values["evaluate"]["more"] = [ROOMS]
    with pytest.raises(ParamsError, match=r"evaluate.more: .*; allowed: {} for none, or a mapping from the name of each set"):
        make_params(values)


def test_paths_of_other_sets_are_checked_but_two_may_be_the_same_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/demo/inner", "data/photos", "data/ensemble", "rooms"):
        Path(folder).mkdir(parents=True)
    shutil.copyfile(PROJECT / "dvc.yaml", "dvc.yaml")
    check_paths(make_params(declare(near={}, far={"depth": METRES | {"max": 80.0}})), "params.yaml")
    wrong = {
        "nowhere": r"evaluate.more.a.path: nowhere does not exist",
        "data/demo/inner": r"evaluate.more.a.path: data/demo/inner lies in that of download.path: data/demo",
        "data/other/a": r"evaluate.more.a.path: data/other/a lies in data/other, which the stage download_other removes",
        "reports": r"evaluate.more.a.path: reports holds reports/",
    }
    for path, message in wrong.items():
        with pytest.raises(ParamsError, match=message):
            check_paths(make_params(declare(a={"path": path})), "params.yaml")


def test_a_set_of_which_nothing_could_be_scored_is_rejected(tmp_path):
    write_photos(tmp_path / "photos", make_composites(2, 2, 1))
    shutil.rmtree(tmp_path / "photos/masks")
    photos = {"source": "image_mask_depth", "path": str(tmp_path / "photos"), "depth": NEAR_IS_LARGE}
    values = declare(NEAR_IS_SMALL | {"raw_max": 20000}, a=photos)
    values["model"]["background_input"] = False
    with pytest.raises(ParamsError, match=r"evaluate.more.a.depth.polarity: near_is_large, .*has no masks, so nothing could be"):
        check_other_layouts(make_params(values), "params.yaml")
    values["evaluate"]["more"]["a"]["depth"] = NEAR_IS_SMALL
    check_other_layouts(make_params(values), "params.yaml")


def make_batch(depth: np.ndarray, valid: np.ndarray | None = None) -> ByteBatch:
    """One sample with depths (H x W) and an empty mask."""
    height, width = depth.shape
    batch = ByteBatch.allocate(1, height, width, with_background=False)
    batch.image[...], batch.mask[...] = 0, 0
    batch.depth[0], batch.valid[0] = depth, True if valid is None else valid
    return batch


def compare(depth: dict, model: dict):
    return compare_depths(DepthParams(**depth), DepthParams(**model))


def score_one(comparison, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Scores of one predicted depth map (in the model's scale) against a truth as the set's reader gives it."""
    batch = make_batch(truth.astype(np.float32))
    comparison.convert_truth(batch)
    maps = PredictedMaps(torch.zeros(1, 1, *truth.shape), torch.from_numpy(predicted.astype(np.float32))[None, None])
    predict = comparison.wrap(lambda image, background: maps)
    return score_samples(predict, [batch], [], comparison.scale.max, withhold=comparison.find_reason).summary["depth"]


def test_metres_are_scored_in_full_in_the_models_scale():
    near, far = METRES | {"max": 5.0}, METRES | {"max": 80.0}
    model = METRES | {"max": 20.0}
    # 1 m and 5 m or more, of a set that ends at 5 m: of the latter nobody knows how far it is
    scores = score_one(compare(near, model), np.array([[0.2, 1.0]]), np.array([[0.1, 0.9]]))
    assert scores["rmse"] == pytest.approx(1.0) and scores["abs_rel"] == pytest.approx(1.0)  # 2 m instead of 1 m
    # 40 m and 10 m, where the model ends at 20 m: it is 20 m wrong, and exact
    scores = score_one(compare(far, model), np.array([[0.5, 0.125]]), np.array([[1.0, 0.5]]))
    assert scores["mae"] == pytest.approx(10.0) and scores["rmse"] == pytest.approx(np.sqrt(200))
    assert scores["delta1"] == pytest.approx(0.5)


def test_a_batch_beyond_the_models_maximum_is_neither_clipped_nor_left_out():
    batch = make_batch(np.array([[0.5, 1.0, 0.1]], np.float32), np.array([[True, True, False]]))
    compare(METRES | {"max": 80.0}, METRES | {"max": 20.0}).convert_truth(batch)
    assert batch.depth[0, 0].tolist() == [2.0, 0.0, 0.0] and batch.valid[0, 0].tolist() == [True, False, False]


GENERATOR = np.random.default_rng(0)
DEPTHS = GENERATOR.uniform(0.1, 1.0, (6, 6))


def test_relative_depth_is_compared_with_metres_after_alignment_alone():
    comparison = compare(NEAR_IS_SMALL, METRES)
    scores = score_one(comparison, 0.3 * DEPTHS + 0.2, DEPTHS)  # the truth up to scale and shift
    assert {key for key, value in scores.items() if not np.isnan(value)} == {key for key in scores if key.endswith("_aligned")}
    assert scores["rmse_aligned"] == pytest.approx(0, abs=1e-6) and scores["delta1_aligned"] == 1
    assert "relative, the model's in metres" in comparison.find_reason("depth", "rmse")
    assert comparison.find_reason("published", "depth_iou") and comparison.find_reason("published", "mask_iou") is None
    assert comparison.find_reason("mask", "iou") is None
    back = compare(METRES, NEAR_IS_SMALL)
    assert score_one(back, DEPTHS * 0.9, 0.5 * DEPTHS + 0.1)["rmse_aligned"] == pytest.approx(0, abs=1e-6)
    assert back.scale.unit == "metre" and back.scale.max == 10


def test_an_inverse_depth_is_compared_with_the_inverse_of_metres():
    comparison = compare(NEAR_IS_LARGE, METRES)
    truth = 1 - (0.05 / DEPTHS + 0.3)  # as the reader decodes stored values that grow with the inverse depth
    scores = score_one(comparison, truth, DEPTHS)
    assert scores["rmse_aligned"] == pytest.approx(0, abs=1e-5)
    assert score_one(comparison, truth, 1 - 0.5 / DEPTHS.clip(0.5))["rmse_aligned"] > 0.01, "the depth itself does not fit"
    assert {key for key, value in scores.items() if not np.isnan(value)} == {"rmse_aligned", "mae_aligned", "ssim_aligned"}
    assert "ratios mean nothing" in comparison.find_reason("depth", "delta1_aligned")
    same = compare(NEAR_IS_LARGE, NEAR_IS_LARGE)
    assert score_one(same, truth, 0.5 * truth + 0.1)["rmse_aligned"] == pytest.approx(0, abs=1e-6)


def test_a_model_of_inverse_depth_is_compared_with_metres_after_alignment_in_disparity():
    comparison = compare(METRES, NEAR_IS_LARGE)
    scores = score_one(comparison, DEPTHS * 0.9, 1 - (0.02 / DEPTHS + 0.1))  # what such a network takes for depth
    assert scores["abs_rel_aligned_disparity"] == pytest.approx(0, abs=1e-4)
    assert scores["delta1_aligned_disparity"] == 1 and scores["rmse_aligned_disparity"] == pytest.approx(0, abs=1e-3)
    assert np.isnan(scores["rmse_aligned"]) and np.isnan(scores["abs_rel"])
    assert score_one(comparison, DEPTHS * 0.9, 0.5 * DEPTHS)["abs_rel_aligned_disparity"] > 0.05, "depth is no inverse depth"


def test_caps_are_in_metres_and_only_where_metres_are_compared(params):
    evaluate = params.evaluate.model_copy(update={"depth_max": 8.0, "depth_crop": "eigen"})
    protocol = compare(METRES | {"max": 5.0}, METRES | {"max": 20.0}).make_protocol(evaluate, "crop", has_nyu_frames=False)
    assert protocol.depth_max == pytest.approx(8 / 20) and protocol.crop is None
    assert compare(METRES, METRES).make_protocol(evaluate, "crop", has_nyu_frames=True).crop is not None
    relative = compare(NEAR_IS_SMALL, METRES).make_protocol(evaluate, "crop", has_nyu_frames=True)
    assert relative.depth_max is None and relative.crop is None and relative.has_ratios


def test_two_relative_depths_of_different_polarity_are_not_compared():
    comparison = compare(NEAR_IS_LARGE, NEAR_IS_SMALL)
    assert all(np.isnan(value) for value in score_one(comparison, DEPTHS, DEPTHS).values())
    assert comparison.find_reason("depth", "rmse_aligned").startswith("depth.polarity: near_is_large, but the model's depth")


def test_a_baselines_depth_is_compared_as_the_networks_is():
    comparison = compare(NEAR_IS_LARGE, METRES)
    depth, mask = (Baseline(f"{family}_mean", family, torch.full((1, 1, 2, 2), 0.5)) for family in ("depth", "mask"))
    assert comparison.map_baseline(depth).values_11HW.unique().tolist() == [-2.0]
    assert comparison.map_baseline(mask) is mask


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_demo) -> Path:
    """A folder with the data of a training, a model of their depth that nobody trained, and three other sets."""
    root = tmp_path_factory.mktemp("others")
    shutil.copyfile(PROJECT / "params.yaml", root / "params.yaml")
    shutil.copytree(small_demo, root / "data/demo")
    (root / "data/photos").mkdir()
    (root / "data/ensemble").mkdir()
    write_rooms(root / "rooms")
    changes = write_photos(root / "photos", make_composites(3, 2, 1))
    shutil.copytree(root / "photos", root / "masked")
    shutil.rmtree(root / "masked/depth")
    shutil.rmtree(root / "photos/masks")
    rooms = {"source": "assets", "path": "rooms", "depth": ROOM_DEPTH, "background_group": r"^room_(4[0-4])?"}
    more = {"rooms": rooms} | {
        name: {"source": "image_mask_depth", "path": name, **changes, "depth": dict(NEAR_IS_LARGE)}
        for name in ("photos", "masked")
    }
    values = TINY | {"evaluate": TINY["evaluate"] | {"more": more}, "split": {"test": 0.25, "validation": 0.25}}
    change_params(root, values | {"model": {"background_input": False}})
    torch.manual_seed(0)
    save_model(DepthMaskModel(replace(make_card(), depth_max=20.0)), root / "model.safetensors")
    with contextlib.chdir(root):
        assert download_stage.main(["--out", "raw"]) == 0
        assert split_stage.main(["--raw", "raw", "--out", "split"]) == 0
        for name in more:
            folder, reports = f"other/{name}", f"reports/other/{name}"
            raw = ["--other", name, "--run", f"{reports}/download/run.json", "--out", f"{folder}/raw"]
            assert download_stage.main(raw) == 0
            assert pack_stage.main(["--other", name, "--raw", f"{folder}/raw", "--out", f"{folder}/store"]) == 0
            assert evaluate_stage.main(list_arguments(name)) == 0
    return root


def list_arguments(name: str, reports: str = "reports") -> list[str]:
    folder = f"{reports}/other/{name}"
    inputs = ["--raw", "raw", "--split", "split", "--set-raw", f"other/{name}/raw", "--set-store", f"other/{name}/store"]
    outputs = {
        "metrics": "metrics.json",
        "baselines": "baselines.json",
        "intervals": "intervals.json",
        "per-image": "per_image.csv",
        "samples": "samples",
        "fixed-samples": "fixed.png",
        "run": "run.json",
    }
    named = [word for option, file in outputs.items() for word in (f"--{option}", f"{folder}/{file}")]
    return ["--name", name, *inputs, "--weights", "model.safetensors", *named]


def test_every_background_and_cutout_of_a_set_is_scored(project):
    rows = read_csv(project / "reports/other/rooms/per_image.csv")
    assert {row["background"] for row in rows} == {path.stem for path in (project / "rooms/bg").iterdir()}
    assert {row["cutout"] for row in rows} == {path.stem for path in (project / "rooms/fg").iterdir()}
    assert len(rows) == TINY["evaluate"]["num_samples"]
    test = read_json(project / "reports/other/rooms/metrics.json")["test"]
    assert test["mask"]["iou"] == pytest.approx(np.mean([float(row["mask_iou"]) for row in rows]), rel=1e-4)
    assert test["depth"]["rmse"] == pytest.approx(np.mean([float(row["depth_rmse"]) for row in rows]), rel=1e-4)
    assert max(float(row["scene_far"]) for row in rows) < ROOM_DEPTH["max"], "what is at the set's maximum is left out"


def test_groups_follow_the_sets_pattern(project):
    groups = {row["background"]: row["background_group"] for row in read_csv(project / "reports/other/rooms/per_image.csv")}
    assert groups["room_40"] == "room_40" and groups["room_41"] == "room_41"
    assert len({groups[f"room_{number}"] for number in range(45, 50)}) == 1, "these match with the same text"


def test_baselines_are_those_of_the_training_data(project):
    """The mean of each row, worked out from training composites, scored on the set by hand."""
    rows = read_csv(project / "reports/other/rooms/per_image.csv")
    baselines = read_json(project / "reports/other/rooms/baselines.json")["test"]
    assert set(baselines) == {"mask_all_foreground", "mask_empty", "mask_mean", "depth_mean", "depth_row_mean"}
    fractions = [float(row["mask_fraction"]) for row in rows]
    assert baselines["mask_all_foreground"]["iou"] == pytest.approx(np.mean(fractions), rel=1e-4)
    params, changed = load_params(project / "params.yaml"), project / "changed.yaml"
    values = params.model_dump()
    values["evaluate"]["baseline_samples"] = 1
    changed.write_text(yaml.safe_dump(values))
    with contextlib.chdir(project):
        assert evaluate_stage.main(["--params", "changed.yaml", *list_arguments("rooms", "again")]) == 0
    again = read_json(project / "again/other/rooms/baselines.json")["test"]
    assert again["depth_mean"]["rmse"] != baselines["depth_mean"]["rmse"], "of one training composite"
    same = [read_json(project / f"{reports}/other/rooms/metrics.json") for reports in ("reports", "again")]
    assert same[0] == same[1]


def test_copies_of_training_pictures_are_a_warning(project, capsys):
    trained = {row["key"] for part in ("train", "validation") for row in read_csv(project / f"split/{part}.csv")}
    with contextlib.chdir(project):
        assert evaluate_stage.main(list_arguments("rooms", "warned")) == 0
    said = "warning: rooms: 1 background of it, such as room_copy, is in the training data too" in capsys.readouterr().err
    warnings = read_json(project / "warned/other/rooms/run.json")["extra"]["source"]["warnings"]
    assert said == (COPIED in trained) == any("room_copy" in line for line in warnings)


def test_a_set_without_masks_and_one_without_depth_say_so(project):
    depth_only, masks_only = (read_json(project / f"reports/other/{name}/metrics.json")["test"] for name in ("photos", "masked"))
    assert depth_only["mask"]["iou"] is None and depth_only["not_scored"]["mask.iou"] == "no test image has a known mask"
    assert depth_only["depth"]["rmse_aligned"] is not None and depth_only["depth"]["delta1"] is None
    assert "relative, the model's in metres" in depth_only["not_scored"]["depth.delta1"]
    assert masks_only["mask"]["iou"] is not None and masks_only["depth"]["rmse_aligned"] is None
    assert masks_only["not_scored"]["depth.rmse"] == "no test image has known depth"
    assert depth_only["num_images"] == masks_only["num_images"] == 6


def test_scores_of_other_sets_are_printed_with_what_could_be_compared(project, capsys):
    shutil.copyfile(project / "reports/other/rooms/metrics.json", project / "reports/metrics.json")
    shutil.copyfile(project / "reports/other/rooms/baselines.json", project / "reports/baselines.json")
    assert scores_command.main(["--reports", str(project / "reports")]) == 0
    out = capsys.readouterr().out
    assert "rooms, 12 images" in out and "masked, 6 images" in out and "photos, 6 images" in out
    of_photos = out.partition("photos, 6 images")[2].partition("rooms, 12 images")[0]
    assert "depth RMSE," in of_photos and "aligned" in of_photos and "–" in of_photos


def test_an_unknown_name_is_one_line(project, capsys):
    with contextlib.chdir(project):
        assert evaluate_stage.main(list_arguments("room")) == 1
        assert download_stage.main(["--other", "room", "--out", "x"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert lines[0] == "error: --name room: not in evaluate.more; allowed: rooms, photos, masked"
    assert lines[1] == "error: --other room: not in evaluate.more; allowed: rooms, photos, masked"


def test_only_what_stages_made_of_sets_no_longer_named_is_removed(project, tmp_path):
    params = load_params(project / "params.yaml")
    for name in ("rooms", "old"):
        shutil.copytree(project / "other/rooms/raw", tmp_path / f"data/{name}/raw")
        (tmp_path / f"reports/{name}/download").mkdir(parents=True)
        (tmp_path / f"reports/{name}/download/run.json").write_text("{}")
    (tmp_path / "data/mine/raw").mkdir(parents=True)
    (tmp_path / "reports/notes").mkdir()
    gone = [tmp_path / "data/old", tmp_path / "reports/old"]
    assert remove_gone_sets(tmp_path / "data", tmp_path / "reports", params) == gone
    assert not any(path.exists() for path in gone)
    assert (tmp_path / "data/mine/raw").is_dir() and (tmp_path / "reports/notes").is_dir()
    assert remove_gone_sets(tmp_path / "nowhere", tmp_path / "none", params) == []


def test_the_estimate_and_the_report_of_the_data_have_each_set(project, capsys):
    params = load_params(project / "params.yaml")
    with contextlib.chdir(project):
        estimate = estimate_run(params, 2)
        assert [phase.stage for phase in estimate.phases][-4:] == [
            "evaluate",
            *(f"evaluate_other@{name}" for name in ("rooms", "photos", "masked")),
        ]
        alone = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"more": {}})})
        assert estimate.disk_bytes > estimate_run(alone, 2).disk_bytes, "photos are packed"
        check_command.main(["--data", "--num", "2"])
    out = capsys.readouterr().out
    assert all(name in out for name in ("data/demo", "rooms", "photos", "masked"))
