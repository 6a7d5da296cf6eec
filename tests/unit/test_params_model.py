"""The section model: what a network takes is checked before anything is built."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from depthmask.base.errors import ParamsError
from depthmask.params import make_params
from depthmask.params.model import find_fault_of_size, fit_size

ROOT = Path(__file__).resolve().parents[2]
GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())


def _change(name: str, background: bool, **sizes_px: int) -> dict:
    """params.yaml's values with another network and other sizes, and losses that every network can give."""
    values = copy.deepcopy(GOOD)
    values["model"] |= {"name": name, "background_input": background}
    values["loss"] |= {"mask": {"dice": 1.0}, "depth": {"l1": 1.0}}
    for stage, size_px in sizes_px.items():
        values[stage]["image_size_px"] = size_px
    return values


@pytest.mark.parametrize(
    ("name", "background"),
    [("compact", False), ("compact", True), ("dilated_small", False), ("branched_unet", True), ("smp_unet", False)],
)
def test_a_network_with_the_input_that_it_takes_is_taken(name, background):
    assert make_params(_change(name, background)).model.name == name


@pytest.mark.parametrize(
    ("name", "background", "printed"),
    [
        (
            "multi_dilation_unet",
            True,
            "model.background_input: true; multi_dilation_unet takes the image only; allowed: false",
        ),
        (
            "dense_concat",
            False,
            "model.background_input: false; dense_concat needs the clean background; allowed: true",
        ),
    ],
)
def test_another_input_is_rejected_in_one_line(name, background, printed):
    with pytest.raises(ParamsError) as error:
        make_params(_change(name, background), where="params.yaml")
    assert str(error.value) == f"params.yaml: {printed}"


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "evaluate"])
def test_a_size_that_the_network_cannot_take_is_rejected_with_the_nearest_that_it_can(stage):
    make_params(_change("resnet18_shuffle", False, **{stage: 120}))
    with pytest.raises(ParamsError) as error:
        make_params(_change("resnet18_shuffle", False, **{stage: 100}), where="params.yaml")
    assert str(error.value) == (
        f"params.yaml: {stage}.image_size_px: 100 px do not fit model.name: resnet18_shuffle;"
        " allowed: multiples of 8 from 16 px, such as 96 or 104"
    )


def test_the_size_of_a_further_phase_counts_too():
    values = _change("branched_unet", True)
    values["finetune"]["more_phases"] = [{"image_size_px": 64}, {"image_size_px": 16}]
    with pytest.raises(ParamsError, match=r"finetune\.more_phases\.1\.image_size_px: 16 px .* from 32 px, such as 32$"):
        make_params(values)


def test_a_network_that_pads_takes_any_size():
    make_params(_change("compact", False, pretrain=33, finetune=47, evaluate=100))


def test_the_specs_are_known_without_torch():
    modules = "depthmask.params, depthmask.scores, depthmask.scores.labels, depthmask.leaderboard.params"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "wanted_px", "fitted_px"),
    [
        ("compact", 75, 75),
        ("resnet18_shuffle", 75, 72),
        ("resnet18_shuffle", 76, 80),
        ("branched_unet", 5, 32),
        ("dilated_small", 64, 64),
    ],
)
def test_a_photo_s_side_is_fitted_to_the_network(name, wanted_px, fitted_px):
    assert fit_size(name, wanted_px) == fitted_px
    assert find_fault_of_size(name, fitted_px) is None
