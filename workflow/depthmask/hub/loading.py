"""`depthmask.load`: loads models by their paths, or by their addresses on the Hugging Face Hub.

import depthmask

model = depthmask.load("hf://OWNER/NAME@REVISION")
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depthmask.hub.fetching import find_model
from depthmask.serving import loading
from depthmask.serving.ensemble import Ensemble
from depthmask.serving.predictor import Predictor


@functools.wraps(loading.load)
def load(path: str | Path | Sequence[str | Path], *more: Any, **options: Any) -> Predictor | Ensemble:  # noqa: D103 (as wrapped)
    named = [path] if isinstance(path, str | Path) else path
    return loading.load([find_model(one).path for one in named], *more, **options)
