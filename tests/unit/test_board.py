"""TensorBoard's images, graph and params: there after a training, and never the end of one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from making_models import make_settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from depthmask.base.files import read_json
from depthmask.loading.dataset import open_samples
from depthmask.models.model_file import make_model
from depthmask.training.progress import Progress
from depthmask.training.stage import make_job


@pytest.fixture
def shown(raw, split, params):
    """What the loop hands over at the end of an epoch: job, state, and a batch of validation samples."""
    job = make_job(params, "pretrain", raw, split)
    common = {"image_size_px": 16, "compose": params.compose, "seed": 0, "num_samples": 6, "with_background": True}
    samples = open_samples(raw, split, "validation", **common)
    settings = make_settings("compact", width=4, dropout=0.5, background_input=True)
    model = make_model(settings, read_json(split / "statistics.json")["channels"] if (split / "statistics.json").exists() else
                       {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"unit": "metre", "max": 20.0})  # fmt: skip
    state = SimpleNamespace(phase=0, epoch=0, step=0, total_steps=3, scored_model=model)
    return job, state, samples[[(0, index) for index in range(6)]].to("cpu")


def test_pictures_graph_and_params_are_written_and_change_nothing(shown, tmp_path, capsys):
    job, state, batch = shown
    model = state.scored_model.train()
    torch.manual_seed(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with Progress("pretrain", tmp_path) as progress:
        progress.start_phase(state, job.phases[0], 10)
        progress.show(job, state, batch)
        state.total_steps = 6
        progress.show(job, state, batch)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1)) and all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "no more images" not in capsys.readouterr().err
    events = EventAccumulator(str(tmp_path)).Reload()
    (name,) = events.Tags()["images"]
    images = events.Images(name)
    assert [image.step for image in images] == [3, 6]
    assert (images[0].width, images[0].height) == (5 * 16, 4 * 16)
    assert events.Graph().node
    (text,) = events.Tags()["tensors"]
    assert "learning_rate" in events.Tensors(text)[0].tensor_proto.string_val[0].decode()


def test_what_goes_wrong_is_reported_once_and_the_training_continues(shown, tmp_path, capsys, monkeypatch):
    job, state, batch = shown
    monkeypatch.setattr("depthmask.training.board.write_predictions", lambda *_: 1 / 0)
    with Progress("pretrain", tmp_path) as progress:
        progress.start_phase(state, job.phases[0], 10)
        progress.show(job, state, batch)
        progress.show(job, state, batch)
    assert capsys.readouterr().err.count("no more images for TensorBoard (division by zero)") == 1
