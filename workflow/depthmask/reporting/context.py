"""What the page shows besides the reports: scores of another commit and of the leaderboard, hashes, the default recipe.

None of it makes the page stale: it was true when the page was made, and the page says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv
from depthmask.comparison.differences import find_differences
from depthmask.comparison.pairing import pair_images
from depthmask.comparison.results import PER_IMAGE, open_results
from depthmask.comparison.words import describe_score
from depthmask.params import Params
from depthmask.params.other_sets import EVALUATE_OTHER
from depthmask.params.reading import read_yaml
from depthmask.recipes import BASE, check_recipe, read_recipe
from depthmask.runs.commit import COMMIT_CHARACTERS, explain_ownership
from depthmask.scores import Prominence, list_scores

LAST_COMMIT = "HEAD"
OTHER_STAGES = ("download_other", "pack_other", EVALUATE_OTHER)


class Hashed(NamedTuple):
    """An output of the pipeline as recorded in dvc.lock."""

    path: str
    md5: str
    num_bytes: int
    num_files: int


# with which every recipe can be checked
ANY_SOURCE = {"source": "demo", "path": "data/demo", "urls": [], "sha256": None, "pseudo_labels": None, "more_sources": {}}


@dataclass(frozen=True)
class Changes:
    """The differences between a commit and the working folder, according to DVC.

    commit: short hash; None if there is nothing to compare with, for the given `reason`. old: the commit's scores by dotted
    name. params: those that differ, as (name, then, now). paired: (interval of the change, verdict) by column of a headline
    score; empty if the test images differ, for the reason `unpaired`.
    """

    commit: str | None = None
    reason: str = ""
    old: Mapping[str, float] = field(default_factory=dict)
    params: tuple[tuple[str, Any, Any], ...] = ()
    paired: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    unpaired: str = ""


@dataclass(frozen=True)
class Context:
    """leaderboard: best recipe and its value for each headline score (family, key). defaults: of a recipe's sections."""

    changes: Changes = Changes()
    leaderboard: Mapping[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    hashes: tuple[Hashed, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def read_context(metrics: Path, lock: Path, leaderboard: Path, params: Path, recipes: Path, revision: str | None) -> Context:
    """Read as much of the context as there is.

    metrics: metrics.json of the working folder. revision: git revision to compare with; None: the last commit, if any.

    Raises:
        UserError: the given revision does not exist or has no scores; the leaderboard's table or dvc.lock is broken.
        ParamsError: params or the default recipe do not fit the schema.
    """
    values, more = read_yaml(params, Params), None
    if isinstance(values.get("download"), dict):
        more = values["download"].get("more_sources")
        # the default recipe is shown as it is, even where it would not fit the source
        values["download"] = values["download"] | ANY_SOURCE
    sets = None
    if isinstance(values.get("evaluate"), dict):
        sets = values["evaluate"].get("more")
        values["evaluate"] = values["evaluate"] | {"more": {}}
    defaults = check_recipe(BASE, values, recipes, where=str(params)).model_dump()
    sections = read_recipe(BASE, recipes).values
    return Context(
        changes=read_changes(metrics, revision),
        leaderboard=read_leaderboard(leaderboard),
        hashes=read_hashes(lock, *(names if isinstance(names, dict) else {} for names in (more, sets))),
        defaults={section: defaults[section] for section in sections},
    )


def read_changes(metrics: Path, revision: str | None) -> Changes:
    """DVC's diff of scores and params; see `read_context`."""
    from dvc.exceptions import DvcException  # late: takes a second, and tests of the page do not need it
    from dvc.repo import Repo
    from pygit2 import GitError
    from scmrepo.exceptions import SCMError

    try:
        with contextlib.closing(Repo()) as repo:
            name = metrics.resolve().relative_to(repo.root_dir).as_posix()
            commit = repo.scm.resolve_rev(revision or LAST_COMMIT)
            scores = _list_differences(repo.metrics.diff(a_rev=commit, all=True), name)
            changed = _list_differences(repo.params.diff(a_rev=commit), "params.yaml")
    except (DvcException, SCMError, GitError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        foreign = explain_ownership(reason)
        if foreign is not None and revision is not None:
            raise UserError(f"--compare {revision}: {foreign}") from error
        if foreign is not None:
            return Changes(reason=foreign)
        if revision is not None:
            raise UserError(f"--compare {revision}: {reason}; give a commit, branch or tag of this project") from error
        return Changes(reason="this project has no commit to compare with")
    short = commit[:COMMIT_CHARACTERS]
    old = {key: values["old"] for key, values in scores.items() if isinstance(values.get("old"), int | float)}
    if not old:
        if revision is not None:
            raise UserError(f"--compare {revision}: commit {short} has no {name}; choose one whose results were committed")
        return Changes(reason=f"the last commit, {short}, has no scores")
    params = tuple((key, values.get("old"), values.get("new")) for key, values in sorted(changed.items()))
    return Changes(short, "", old, params, *pair_headlines(metrics.parent, short))


def pair_headlines(reports: Path, commit: str) -> tuple[dict[str, tuple[str, str]], str]:
    """`paired` and `unpaired` of `Changes`: the headline scores of each test image then and now, as `depthmask compare` does."""
    if not (reports / PER_IMAGE).is_file():
        return {}, ""
    try:
        with open_results(commit) as then, open_results(str(reports)) as now:
            differences, _ = find_differences(pair_images(then, now))
    except UserError as error:
        return {}, error.message
    headlines = {spec.column for spec in list_scores(at_least=Prominence.HEADLINE)}
    lines = ((one.column, describe_score(one, "")) for one in differences if one.column in headlines)
    return {column: (line.interval, line.verdict) for column, line in lines}, ""


def _list_differences(result: Mapping[str, Any], name: str) -> dict[str, dict]:
    return dict(result.get("diff", {}).get(name, {}))


def read_leaderboard(path: Path) -> dict[str, tuple[str, float]]:
    """The best recipe by each headline score; empty if there is no leaderboard.

    Raises:
        UserError: the table is not a leaderboard.
    """
    if not path.is_file():
        return {}
    best = {}
    try:
        rows = [row for row in read_csv(path) if row["kind"] == "recipe"]
        for spec in list_scores(at_least=Prominence.HEADLINE):
            known = [(row["name"], float(row[spec.column])) for row in rows if row[spec.column]]
            if known:
                best[spec.column] = (max if spec.higher_is_better else min)(known, key=lambda pair: pair[1])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is not a leaderboard table ({error}); rerun make leaderboard, or remove it") from error
    return best


def read_hashes(lock: Path, more_sources: Container[str] = (), other_sets: Container[str] = ()) -> tuple[Hashed, ...]:
    """The outputs that the page was made from, as recorded in dvc.lock, sorted by path; empty if there is no dvc.lock.

    Sorted because dvc.lock lists stages in the order in which they first ran, which Snakemake chooses. more_sources, other_sets:
    the names of the further sources and of the other data sets; DVC keeps the entries of those that are gone.

    Raises:
        UserError: it is not YAML.
    """
    if not lock.is_file():
        return ()
    try:
        stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
        unrelated = {"check", "report", *(name for name in stages if is_gone(name, more_sources, other_sets))}
        outputs = [out for name, stage in stages.items() if name not in unrelated for out in stage.get("outs", [])]
        return tuple(
            Hashed(out["path"], out["md5"], out.get("size", 0), out.get("nfiles", 1))
            for out in sorted(outputs, key=lambda out: out["path"])
            if "md5" in out and not out["path"].endswith("run.json")
        )
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{lock}: is not valid YAML; restore it with git checkout {lock}") from error


def is_gone(stage: str, more_sources: Container[str], other_sets: Container[str]) -> bool:
    """Whether a stage in dvc.lock is of a further source, or of another data set, that is no longer named."""
    kind, _, name = stage.partition("@")
    if kind in OTHER_STAGES:
        return name not in other_sets
    return kind == "download_more" and name not in more_sources
