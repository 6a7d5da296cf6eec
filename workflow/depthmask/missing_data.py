"""Says how to fetch recorded outputs that DVC's cache lacks, as in a fresh clone; does not connect to the remote storage.

Without this line both tools would plan to make everything again, hours of training included, where `dvc pull` takes seconds.
Nothing is fetched by itself: that needs credentials and a network, which a job on a cluster may not have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from depthmask.base.terminal import count, note

NOT_CACHED = "not in cache"  # in DVC's status


def note_missing_data(repo: Any, stages: Mapping[str, Any], above: Mapping[str, set[str]], why_stale: Mapping[str, Any]) -> None:
    """Print the line for stages of a `dvc.repo.Repo` that run again only because their outputs, or those above them, are missing.

    above: by name of a stage, the stages whose outputs it reads. why_stale: as `dvc status` says, by name of a stage.
    """
    lacking: dict[str, set[str]] = {}
    changed = set()
    for name, reasons in why_stale.items():
        if not all(isinstance(reason, dict) for reason in reasons):  # a changed command is a text
            changed.add(name)
            continue
        found = [(path, what) for reason in reasons for values in reason.values() for path, what in _list_pairs(values)]
        lacking[name] = {path for path, what in found if what == NOT_CACHED}
        if any(what not in (NOT_CACHED, "deleted") for _, what in found):
            changed.add(name)
    changed = _add_below(changed, above)
    outputs = [out for name in lacking.keys() - changed for out in stages[name].outs if str(out) in lacking[name]]
    _print_note(outputs, repo.config)


def note_missing_data_here() -> None:
    """Print the line for all recorded outputs of ./dvc.yaml; costs only a look at dvc.lock if none is missing.

    Takes none of DVC's locks. Says nothing if DVC's files cannot be read: whoever runs a stage will hear why.
    """
    from ruamel.yaml import YAML  # late: a job of a cluster loads this module and never calls this

    with contextlib.suppress(Exception):
        recorded = YAML(typ="safe").load(Path("dvc.lock"))["stages"].values()
        if all(Path(out["path"]).exists() for stage in recorded for out in stage.get("outs", ())):
            return
        from dvc.repo import Repo  # late: takes half a second

        with Repo(".", config={"core": {"no_scm": True}}) as repo:
            outs = [out for stage in repo.index.stages for out in stage.outs]
            _print_note([out for out in outs if out.use_cache and out.hash_info and out.changed_cache()], repo.config)


def _list_pairs(values: object) -> Iterable[tuple[str, str]]:
    """Path and state of one entry of the status; params are a level deeper."""
    if not isinstance(values, dict):
        return [("", str(values))]
    return [pair for path, what in values.items() for pair in ([(path, what)] if isinstance(what, str) else _list_pairs(what))]


def _add_below(names: set[str], above: Mapping[str, set[str]]) -> set[str]:
    """The named stages and all that are made from their outputs."""
    added, grown = set(names), True
    while grown:
        more = {name for name, others in above.items() if not others.isdisjoint(added)}
        grown, added = not more <= added, added | more
    return added


def _print_note(outputs: list[Any], config: Mapping[str, Any]) -> None:
    remotes = config.get("remote") or {}
    if not outputs or not remotes:
        return
    command = "dvc pull" if config["core"].get("remote") else f"dvc pull --remote {next(iter(remotes))}"
    megabytes = sum(out.meta.size or 0 for out in outputs) / 1e6
    are = "is" if len(outputs) == 1 else "are"
    note(
        f"{count(len(outputs), 'output')} of {megabytes:,.1f} MB that dvc.lock records {are} not in DVC's cache; to fetch what"
        f" was pushed, before anything is made again: {command}"
    )
