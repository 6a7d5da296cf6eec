"""Imports a script of benchmarks/, which are not a package and import their neighbours by name."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@contextlib.contextmanager
def import_benchmark(name: str) -> Iterator[ModuleType]:
    """The script as a module within the block; after it nothing of the folder stays imported."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
        for other in {path.stem for path in FOLDER.glob("*.py")} - before:
            sys.modules.pop(other, None)
