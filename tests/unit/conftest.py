"""A small source, split once for every unit test that needs samples."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from depthmask.download.fetch import fetch
from depthmask.params import Params, load_params
from depthmask.sources import open_source
from depthmask.split.assets import split_source, write_parts
from depthmask.weights.start import write_start

PROJECT = Path(__file__).parents[2]
DEMO = PROJECT / "data/demo"
NUM_ASSETS = 12


@pytest.fixture(scope="session")
def params() -> Params:
    return load_params(PROJECT / "params.yaml")


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory) -> Path:
    """The first backgrounds and cut-outs of the demo pack, with its pack.json."""
    folder = tmp_path_factory.mktemp("small") / "demo"
    for kind in ("bg", "bg_depth", "fg", "fg_depth"):
        (folder / kind).mkdir(parents=True)
        for file in sorted((DEMO / kind).iterdir())[:NUM_ASSETS]:
            shutil.copyfile(file, folder / kind / file.name)
    shutil.copyfile(DEMO / "pack.json", folder / "pack.json")
    return folder


@pytest.fixture(scope="session")
def raw(tmp_path_factory, small_demo, params) -> Path:
    out = tmp_path_factory.mktemp("data") / "raw"
    fetch(params.download.model_copy(update={"path": str(small_demo)}), out)
    return out


@pytest.fixture(scope="session")
def start(raw, params) -> Path:
    """A folder as the weights stage writes it for the model of params.yaml."""
    folder = raw.parent / "start"
    folder.mkdir()
    write_start(params.model, folder)
    return folder


@pytest.fixture(scope="session")
def split(raw, params) -> Path:
    folder = raw.parent / "split"
    write_parts(
        folder, split_source(open_source(raw), params.split.model_copy(update={"test": 0.25, "validation": 0.25}), seed=0)
    )
    return folder
