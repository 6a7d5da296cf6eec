"""For all tests: which files begin a run that several processes share, and that torch predicts whatever is installed."""

from __future__ import annotations

import os
import sys

import pytest

# before torch is loaded, as the stages do: test processes share the cores, and waiting threads that spin starve each other
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that at the end no process is left alone with one of them."""
    long_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(autouse=True)
def without_openvino(monkeypatch):
    """Notes and results of predictions are the same with and without the extra `openvino`, whose tests replace this fixture."""
    monkeypatch.setitem(sys.modules, "openvino", None)
