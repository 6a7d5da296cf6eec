"""Reads one side of a comparison: a folder, a per_image.csv, a commit or an experiment."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_csv, read_json
from depthmask.params.plain_yaml import parse_yaml
from depthmask.params.reading import read_text
from depthmask.runs.commit import COMMIT_CHARACTERS, explain_ownership
from depthmask.scores.labels import describe_column

WORKSPACE = "workspace"
REPORTS, PER_IMAGE = "reports", "per_image.csv"
NEEDED_COLUMNS = ("key", "background", "cutout")

Row = Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """name: as the user gave it. commit: short hash; None for files. rows: of per_image.csv. params: by dotted key.

    Params are None if unknown. unit: of depth: metre, relative, or empty if unknown. samples: folder of images of single samples;
    None: not there.
    """

    name: str
    commit: str | None
    rows: list[Row]
    params: Mapping[str, Any] | None
    unit: str
    samples: Path | None

    @property
    def title(self) -> str:
        """The name, with the commit's hash if it says more."""
        return self.name if self.commit is None or self.name.startswith(self.commit) else f"{self.name} ({self.commit})"


@contextlib.contextmanager
def open_results(where: str, *, with_samples: bool = False) -> Iterator[Results]:
    """Read the results at `where`: WORKSPACE, a folder of a project or its reports, a per_image.csv, or a revision for DVC.

    with_samples: also fetch a revision's images of samples, if DVC's cache or remote has them.

    Raises:
        UserError: there is nothing of that name, or it has no per_image.csv, or a broken one.
    """
    path = Path("." if where == WORKSPACE else where)
    if path.exists() and (where == WORKSPACE or path.suffix == ".csv" or _find_reports(path)):
        yield _read_files(where, None, path)
        return
    with tempfile.TemporaryDirectory(prefix="depthmask-compare-") as folder:
        commit = _copy_revision(where, Path(folder), with_samples)
        try:
            yield _read_files(where, commit, Path(folder))
        except UserError as error:
            # the copy is gone once anybody reads the message
            raise UserError(error.message.replace(f"{folder}/", f"{where}:"), error.hint) from error


def _find_reports(path: Path) -> Path | None:
    """The folder with per_image.csv: the given one, or reports/ in it."""
    found = (folder for folder in (path / REPORTS, path) if (folder / PER_IMAGE).is_file())
    return next(found, None)


def _read_files(name: str, commit: str | None, path: Path) -> Results:
    reports = path.parent if path.suffix == ".csv" else _find_reports(path)
    if reports is None:
        raise UserError(f"{path / REPORTS / PER_IMAGE}: no such file; run the stage evaluate, or give another commit or folder")
    table = path if path.suffix == ".csv" else reports / PER_IMAGE
    samples = reports / "samples"
    project = reports.parent if reports.name == REPORTS else reports
    return Results(
        name=name,
        commit=commit,
        rows=_read_rows(table),
        params=_read_params(project / "params.yaml"),
        unit=_read_unit(reports / "evaluate" / "run.json"),
        samples=samples if (samples / "index.json").is_file() else None,
    )


def _read_rows(table: Path) -> list[Row]:
    rows = read_csv(table)
    if not rows:
        raise UserError(f"{table}: has no rows; run the stage evaluate again")
    missing = [column for column in NEEDED_COLUMNS if column not in rows[0]]
    if missing:
        raise UserError(f"{table}: lacks the column {missing[0]}; give a per_image.csv that the stage evaluate wrote")
    columns = [column for column in rows[0] if describe_column(column) is not None]
    if not columns:
        raise UserError(f"{table}: has no scores; give a per_image.csv that the stage evaluate wrote")
    for number, row in enumerate(rows, start=1):
        for column in columns:
            try:
                float(row[column] or "nan")
            except ValueError as error:
                raise UserError(
                    f"{table}: image {number}: {column}: {row[column]} is not a number; run evaluate again"
                ) from error
    return rows


def _read_params(path: Path) -> dict[str, Any] | None:
    return dict(flatten(parse_yaml(read_text(path), str(path)))) if path.is_file() else None


def _read_unit(path: Path) -> str:
    try:
        return str(read_json(path)["extra"]["source"]["depth_unit"])
    except (OSError, JsonError, KeyError, TypeError):
        return ""


def flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; an empty mapping is a value."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def show_value(value: Any) -> str:
    """A param as in params.yaml, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _copy_revision(name: str, folder: Path, with_samples: bool) -> str:
    """Copy what a comparison reads from a revision into a folder; returns its short hash."""
    from dvc.api import DVCFileSystem  # late: takes a second, and folders need none of it
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCM, resolve_rev
    from dvc_data.index import DataIndexError
    from pygit2 import GitError
    from scmrepo.exceptions import SCMError

    try:
        with contextlib.closing(Repo()) as repo:
            root = repo.root_dir
        commit = resolve_rev(SCM(root, search_parent_directories=True), name)
        project = DVCFileSystem(root, rev=commit)
        for file in (f"{REPORTS}/{PER_IMAGE}", f"{REPORTS}/evaluate/run.json", "params.yaml"):
            if project.isfile(file):
                target = folder / PurePosixPath(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(project.read_bytes(file))
    except (DvcException, SCMError, GitError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = explain_ownership(reason) or f"{reason}; give a commit, branch, tag or experiment, or a folder with results"
        raise UserError(f"{name}: {advice}") from error
    if not (folder / REPORTS / PER_IMAGE).is_file():
        raise UserError(
            f"{name}: commit {commit[:COMMIT_CHARACTERS]} has no {REPORTS}/{PER_IMAGE}; choose one whose results were committed"
        )
    if with_samples:
        samples = folder / REPORTS / "samples"
        try:
            project.get(f"{REPORTS}/samples", os.fspath(samples), recursive=True)
        except (DvcException, DataIndexError, OSError, ValueError):  # neither in the cache nor in a remote: no images are shown
            shutil.rmtree(samples, ignore_errors=True)  # some may be there
    return commit[:COMMIT_CHARACTERS]
