"""Scoring at a common size, clocks, and the stages of a recipe whose network is not installed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from depthmask.leaderboard import inference_time, speed
from depthmask.leaderboard.inference_time import measure_inference_ms
from depthmask.leaderboard.scoring import predict_at, resize
from depthmask.models.inference import PredictedMaps
from depthmask.params import PhaseParams
from stages.leaderboard import plan as leaderboard_plan
from stages.leaderboard import score as leaderboard_score
from stages.leaderboard import time as leaderboard_time
from stages.leaderboard import train as leaderboard_train

ROOT = Path(__file__).resolve().parents[2]


def make_pictures(side_px: int) -> torch.Tensor:
    return torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("own_px", [16, 24, 48])
def test_a_network_sees_its_own_size_and_is_scored_at_the_common_one(own_px):
    seen = []

    def predict(image: torch.Tensor, background: torch.Tensor) -> PredictedMaps:
        seen.append((image.shape[-2:], background.shape[-2:]))
        return PredictedMaps(image[:, :1], background[:, :1])

    pictures = make_pictures(24)
    answer = predict_at(predict, own_px)(pictures, pictures.flip(1))
    assert seen == [((own_px, own_px), (own_px, own_px))]
    assert [values.shape for values in answer] == [(2, 1, 24, 24)] * 2
    assert all(0 <= values.min() and values.max() <= 1 for values in answer)


def test_a_network_of_the_common_size_gets_the_very_pictures():
    pictures = make_pictures(24)
    answer = predict_at(lambda image, background: PredictedMaps(image[:, :1], image[:, 1:2]), 24)(pictures, None)
    assert torch.equal(answer.mask_prob_B1HW, pictures[:, :1])


def test_resizing_by_hand():
    # pixel centres: halves are means of four, and doubling mixes neighbours 3 to 1
    grey = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    doubled = resize(grey, 4)[0, 0]
    assert torch.allclose(doubled, torch.tensor([0.0, 0.25, 0.75, 1.0]).expand(4, 4))
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    assert torch.allclose(resize(resize(edge, 16), 8), edge, atol=0.25)
    assert torch.allclose(resize(torch.full((1, 1, 9, 9), 0.3), 4), torch.full((1, 1, 4, 4), 0.3))


class Counting(nn.Module):
    """A model that counts its calls and notes what it was given."""

    def __init__(self, background_input: bool):
        super().__init__()
        self.background_input, self.calls = background_input, []

    def forward(self, image, background):
        self.calls.append((image.shape, background is not None))


@pytest.mark.parametrize("background_input", [True, False])
def test_inference_is_timed_on_one_picture(background_input):
    model = Counting(background_input)
    assert measure_inference_ms(model, 20, torch.device("cpu"), channels_last=True) > 0
    assert model.calls == [((1, 3, 20, 20), background_input)] * (inference_time.NUM_WARM + inference_time.NUM_TIMED)


def test_a_slow_network_is_timed_fewer_times(monkeypatch):
    monkeypatch.setattr(inference_time, "TIMED_SECONDS", 0.0)
    model = Counting(False)
    assert measure_inference_ms(model, 20, torch.device("cpu"), channels_last=False) > 0
    assert len(model.calls) == inference_time.NUM_WARM


def test_a_step_of_each_phase_is_timed_and_nothing_is_left(raw, split, params, monkeypatch, tmp_path):
    with_statistics = shutil.copytree(split, tmp_path / "split")
    channels = {"image": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (with_statistics / "statistics.json").write_text(json.dumps({"channels": channels}))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("DEPTHMASK_WORKERS", "0")
    monkeypatch.setattr(speed, "MEASURED_SECONDS", 0.0)
    small = {"image_size_px": 32, "batch_size": 2, "samples_per_epoch": 8, "validation_samples": 2, "ema_decay": None}
    phase = PhaseParams(**{name: getattr(params.pretrain, name) for name in PhaseParams.model_fields} | small)
    seconds = speed.measure_step_seconds(params, [phase, phase], raw, with_statistics)
    assert len(seconds) == 2
    assert all(0 < value < 60 for value in seconds)
    assert list(Path().iterdir()) == []


def test_a_recipe_that_is_not_installed_is_skipped_by_every_stage(raw, split, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "leaderboard/params.yaml").read_text()
    start, end = text.index("recipes:"), text.index("\nseeds:")
    (tmp_path / "params.yaml").write_text(text[:start] + "recipes: [smp_unet]" + text[end:])
    data = ["--raw", str(raw), "--split", str(split)]
    plan = ["--plan", "plan/smp_unet.json"]
    recipe = str(ROOT / "workflow/recipes/smp_unet.yaml")
    assert leaderboard_plan.main(["--recipe", recipe, *data, "--out", "plan/smp_unet.json"]) == 0
    files = ["--weights", "smp_unet-0.safetensors", "--history", "h.csv", "--run", "run.json"]
    assert leaderboard_train.main([*plan, *data, "--seed", "0", *files]) == 0
    assert (
        leaderboard_score.main(
            [*plan, *data, "--weights", "smp_unet-0.safetensors", "--scores", "scores.json", "--images", "i.csv"]
        )
        == 0
    )
    assert leaderboard_time.main(["--plans", "plan", "--weights", ".", "--out", "time.json"]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("note: recipe smp_unet is skipped: ") for line in printed) == 3
    assert "segmentation_models_pytorch" in json.loads((tmp_path / "scores.json").read_text())["missing"]
    assert json.loads((tmp_path / "time.json").read_text())["inference_ms"] == {}
    assert (tmp_path / "smp_unet-0.safetensors").read_bytes() == b""


def test_a_broken_plan_is_reported(tmp_path, raw, split, capsys, monkeypatch):
    monkeypatch.chdir(ROOT / "leaderboard")
    (tmp_path / "plan.json").write_text('{"recipe": "default"}')
    out = ["--weights", str(tmp_path / "w"), "--scores", str(tmp_path / "s"), "--images", str(tmp_path / "i")]
    data = ["--raw", str(raw), "--split", str(split)]
    assert leaderboard_score.main(["--plan", str(tmp_path / "plan.json"), *data, *out]) == 1
    line = capsys.readouterr().err
    assert [printed.startswith("error: ") for printed in line.splitlines()].count(True) == 1
    assert "is not a plan" in line
