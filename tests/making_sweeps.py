"""Sweeps without a training: a project's folder with params, and results as trials would have them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from depthmask.sweep.trial import FINISHED, Result

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = yaml.safe_load((ROOT / "sweep/params.yaml").read_text())


def write_sweep(project: Path, **changes: Any) -> Path:
    """The params file of a sweep in a project's folder that has the demo pack; changes: of the sweep's own keys."""
    folder = project / "sweep"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data", "dvc.yaml", "params.yaml"):
        if not (project / name).exists():
            (project / name).symlink_to(ROOT / name)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(copy.deepcopy(SHIPPED) | changes, sort_keys=False))
    return path


def make_result(name: str, values: dict[str, Any], score: float | None, **more: Any) -> Result:
    """The result of a trial of 100 steps."""
    given = {
        "outcome": FINISHED,
        "reason": None,
        "scores": {"mask_iou": score, "depth_delta1": score},
        "intervals": {},
        "curve": [],
        "steps": 100,
        "planned_steps": 100,
        "num_images": 8,
    }
    return Result(name=name, values=values, score=score, **(given | more))
