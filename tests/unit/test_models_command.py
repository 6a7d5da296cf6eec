"""depthmask models: counts, receptive fields and sizes of the networks."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest
import torch
from making_models import make_settings
from torch import nn

from depthmask.cli import main
from depthmask.commands.models import ReceptiveField, count_parameters_at_each_use, measure_receptive_field
from depthmask.models import make_network
from depthmask.models.blocks import ScaleMinMax
from depthmask.models.model_file import count_parameters
from depthmask.models.prediction import Prediction
from depthmask.registry.networks import NETWORKS

PAGE = Path(__file__).resolve().parents[2] / "docs/systems.md"


class Chain(nn.Module):
    """Two maps of the image, of which the depth sees farther."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
        self.mask = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 1, 3, padding=1), nn.Upsample(scale_factor=2), ScaleMinMax())
        self.depth = nn.Conv2d(2, 1, 3, padding=4, dilation=4)

    def forward(self, image: torch.Tensor) -> Prediction:
        x = self.stem(image)
        return Prediction(None, self.depth(self.depth(x).expand(-1, 2, -1, -1)), self.mask(x))


class Global(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, image: torch.Tensor) -> Prediction:
        x = self.conv(image)
        return Prediction(x, torch.sigmoid(x + x.mean(dim=(2, 3), keepdim=True)))


def test_receptive_fields_worked_out_by_hand():
    # mask: 3, pooled in pairs 4, a kernel of 3 pairs more 8; depth: 3, and 8 more for each run of the dilated kernel
    assert measure_receptive_field(Chain(), 1, 16) == ReceptiveField(mask_px=8, depth_px=19)


def test_a_mean_over_the_picture_is_seen():
    assert measure_receptive_field(Global(), 1, 16) == ReceptiveField(mask_px=1, depth_px=None)


def test_shared_layers_count_at_each_use():
    network = Chain()
    twice = sum(p.numel() for p in network.depth.parameters())
    counted = count_parameters_at_each_use(network, torch.zeros(1, 3, 16, 16))
    assert counted == sum(p.numel() for p in network.parameters()) + twice


def test_the_table_reports_what_the_networks_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    path = tmp_path / "models.csv"
    assert main(["models", "dilated_small", "two_stream_separable", "smp_unet", "--csv", str(path)]) == 0
    printed = capsys.readouterr().out
    for part in ("224,688", "493,408", "677,824 parameters if shared layers are counted at each use", "32, padded"):
        assert part in printed
    assert "smp_unet, image: not measured" in printed
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["name"], r["input"], r["parameters"], r["mask_field_px"], r["depth_field_px"]) for r in rows] == [
        # stem 1 + 3 x 2, six dilated kernels at half the size 4 x 2 x (2 + 3 + 4), two kernels at the full size 2 x 2
        ("dilated_small", "image", "224688", "83", "83"),
        ("two_stream_separable", "background + image", "493408", "78", "110"),
        ("smp_unet", "image", "", "", ""),
        ("smp_unet", "background + image", "", "", ""),
    ]


def test_an_unknown_network_is_one_line(capsys):
    assert main(["models", "unet"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: unet: no such network; allowed: compact, encoder_decoder, dilated_small")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", ["compact", "encoder_decoder"])
def test_a_network_that_sees_the_whole_picture_says_so(name, capsys):
    assert main(["models", name]) == 0
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines() if line.startswith(name)][:2] == ["all", "all"]


def _count(name: str, background: bool) -> str:
    with torch.device("meta"):
        return f"{count_parameters(make_network(make_settings(name, width=16, background_input=background))):,}"


def test_the_page_about_the_networks_agrees_with_them():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if line.startswith("| `")
    ]
    assert [row[0].strip("`") for row in rows] == list(NETWORKS)
    for row, (name, spec) in zip(rows, NETWORKS.items()):
        kinds = [
            background for background in (False, True) if (spec.takes_background if background else not spec.needs_background)
        ]
        assert row[2] == " or ".join("2" if background else "1" for background in kinds)
        if name != "smp_unet":  # its package may be missing
            assert row[3] == " or ".join(_count(name, background) for background in kinds)
        assert int(re.search(r"\d+", row[5])[0]) == spec.stride
        assert ("any, padded" in row[5]) == spec.pads
        assert ("logits" in row[6]) == (spec.mask_gives == "logits")
        assert ("standardised" in row[6]) == spec.standardised
        assert ("bins" in row[7]) == spec.has_depth_bins
