"""One cluster for all tests of this folder that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running_slurm import Cluster, find_obstacle, run_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Two nodes; skips the test where this machine cannot run them."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="make test-cluster installs it")
    if obstacle := find_obstacle():
        pytest.skip(obstacle)
    with run_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started
