"""Finished clones of the project, made once a session by each tool; to be copied, not changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_tools import run_dvc, run_snakemake
from tiny_project import commit, make_clone


@pytest.fixture(scope="session")
def made_by_dvc(tmp_path_factory) -> Path:
    """A clone after its first `dvc repro`, and a commit of what it made."""
    root = make_clone(tmp_path_factory.mktemp("dvc") / "clone")
    run_dvc(root)
    commit(root, "results")
    return root


@pytest.fixture(scope="session")
def made_by_snakemake(tmp_path_factory) -> Path:
    """A clone after its first `snakemake --cores 2` and nothing else."""
    root = make_clone(tmp_path_factory.mktemp("snakemake") / "clone")
    run_snakemake(root)
    return root
