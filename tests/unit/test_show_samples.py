"""depthmask show: contact sheets before any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthmask.commands.show import main, open_raw_or_given
from depthmask.params import DownloadParams, load_params
from depthmask.sources import read_record

PARAMS = str(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def show(raw, split, tmp_path):
    """Runs the command on the small source; the sheet's pixels, or its exit code where it wrote none."""

    def run(*options: str, folder: Path = raw, split: Path = split):
        out = tmp_path / "sheet.png"
        code = main(
            ["--params", PARAMS, "--raw", str(folder), "--split", str(split), "--size", "64", "--out", str(out), *options]
        )
        return code if code else np.asarray(Image.open(out))

    return run


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_sheet_of_each_part(show, part):
    one, two = (show("--part", part, "--num", number) for number in ("1", "2"))
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]
    assert one.std() > 20  # images, not paper
    assert np.array_equal(one, show("--part", part, "--num", "1"))


def test_augmented_ones_and_other_epochs_are_others(show):
    plain = show("--num", "4")
    assert not np.array_equal(plain, show("--num", "4", "--augment"))
    assert not np.array_equal(plain, show("--num", "4", "--epoch", "1"))


def test_the_source_itself(show, capsys):
    assert show("--source", "--num", "4").std() > 20
    assert "4 images of the source" in capsys.readouterr().out


def test_the_source_of_params_where_nothing_was_downloaded(show, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(PARAMS).parent)
    assert show("--source", "--num", "2", folder=tmp_path / "none").std() > 20


def test_the_source_of_changed_params_before_it_is_downloaded(raw, tmp_path, monkeypatch):
    """data/raw still holds the small pack: without a word about the folder, what params.yaml names is shown."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/raw").symlink_to(raw)
    monkeypatch.chdir(tmp_path)
    params = load_params(PARAMS)
    given = params.download.model_copy(update={"path": str(Path(PARAMS).parent / "data/demo")})
    assert len(open_raw_or_given(None, given).backgrounds) == 96
    small = DownloadParams(**read_record(raw, "download")["download"])
    for folder in (None, Path("data/raw")):
        assert len(open_raw_or_given(folder, small).backgrounds) == 12


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        (["--num", "0"], "--num 0: allowed: 1 to 200"),
        (["--part", "test"], "run the download stage first"),
        (["--split", "test"], "--split test: is now the folder of the split; use --part test"),
        (["--parts", "data/split"], "--parts data/split: use --split data/split"),
    ],
)
def test_what_cannot_be_shown_is_one_line(show, tmp_path, capsys, options, printed):
    assert show(*options, folder=tmp_path / "none") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and printed in error


def test_another_suffix_is_rejected(tmp_path, capsys):
    assert main(["--params", PARAMS, "--out", str(tmp_path / "sheet.pdf")]) == 1
    assert "use the suffix .png" in capsys.readouterr().err
