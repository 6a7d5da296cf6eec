"""Stores the run of one stage in DVC's run cache: `python -m depthmask.dvc_run_cache`, started by the stage when it is done.

The key of a run is what dvc.lock has of its inputs: command, params, hashes of deps. DVC looks it up before it runs any stage,
and then restores all outputs, those that git keeps (`cache: false`) too; so they are copied into its cache here. A run whose
inputs changed while it lasted is not stored, since nobody can say what it was made from.

DVC's own condition for storing a run is in `Stage.run` of dvc/stage/__init__.py, `no_cache_outs`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.orphans import DVC_STAGE
from depthmask.base.stored_run import PARAMS, RunStart
from depthmask.dvc_failures import report_dvc_errors

GRAPH = "dvc.yaml"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    """Store the run of the stage that DVC_STAGE names, of ./dvc.yaml; its start is JSON on standard input."""
    from dvc.repo import Repo

    start, name = RunStart(**json.load(sys.stdin)), os.environ[DVC_STAGE].rpartition(":")[2]  # `../dvc.yaml:split` from below
    with report_dvc_errors(), Repo(".", config={"core": {"no_scm": True}}) as repo:
        store(repo, name, start)
    return 0


def store(repo: Any, name: str, start: RunStart) -> None:
    """Store the run of a stage whose outputs are complete.

    Raises:
        UserError: an input of the stage changed since it started.
    """
    stages = _load_stages(repo)
    if name not in stages:
        raise UserError(f"{GRAPH} or {PARAMS} changed while the stage ran: there is no stage {name} any more")
    stage, made = stages[name], {out.fs_path for other in stages.values() for out in other.outs}
    for changed in _find_changed(repo, stage, made, start):
        raise UserError(
            f"{changed} changed while the stage ran, and DVC records it as what the outputs were made from; make them again with"
            f" dvc repro --force --single-item {name}"
        )
    stage.save_deps()
    stage.save_outs()
    repo.stage_cache.save(stage)


def _load_stages(repo: Any) -> dict[str, Any]:
    """The stages of ./dvc.yaml by name, without what dvc.lock says: another process may be writing it."""
    from dvc.dvcfile import load_file
    from dvc.stage.loader import StageLoader

    file = load_file(repo, str(Path(repo.root_dir, GRAPH)))
    return dict(StageLoader(file, file.contents, {}))


def _find_changed(repo: Any, stage: Any, made: set[str], start: RunStart) -> Iterator[str]:
    """The keys of params, and the files that no stage makes, that changed since the start, as shown to the user."""
    from dvc.dependency.param import ParamsDependency

    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            if Path(dependency.fs_path) == PARAMS.absolute():
                yield from _compare_params(start.params, PARAMS.read_text(encoding="utf-8"), dependency.params)
            elif _is_newer(Path(dependency.fs_path), start.seconds):
                yield dependency.def_path
        elif not any(_overlap(dependency.fs_path, path) for path in made):
            is_folder = Path(dependency.fs_path).is_dir()
            files = repo.dvcignore.find(dependency.fs, dependency.fs_path) if is_folder else [dependency.fs_path]
            yield from (os.path.relpath(file) for file in files if _is_newer(Path(file), start.seconds))


def _compare_params(before: str, now: str, keys: Iterable[str]) -> Iterator[str]:
    if before == now:
        return
    old, new = yaml.safe_load(before), yaml.safe_load(now)
    for key in keys or [""]:  # none: the whole file
        if _look_up(old, key) != _look_up(new, key):
            yield f"{key} in {PARAMS}" if key else str(PARAMS)


def _look_up(values: Any, key: str) -> Any:
    """The value of a dotted key; None if it is missing."""
    for part in filter(None, key.split(".")):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _is_newer(path: Path, seconds: float) -> bool:
    """Whether a file was written, or put in its place, after that time; also if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return True
    return max(status.st_mtime, status.st_ctime) > seconds


if __name__ == "__main__":
    sys.exit(main())
