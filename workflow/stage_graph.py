"""Reads dvc.yaml for the Snakefile: every stage resolved, and checked for staleness, by DVC itself.

DVC decides what is stale, by content; Snakemake decides what runs when and where. dvc.lock is the only record of what was
made from what, so the two tools cannot disagree:

- A stage that `dvc status` calls stale gets a note, a file newer than its outputs, as one more input. A stage that is clean,
  with everything above it, takes its inputs as `ancient()`: neither a checkout nor a fresh clone makes it run.
- Dates decide nothing else, whatever the clocks say. Outputs dated in the future are dated back, or a note would not be newer.
  Inputs dated in the future that no stage makes are not passed to Snakemake, which would fail the job for them.
- A job does what `dvc repro --single-item STAGE` does (stage_job.py). So DVC judges once more when the stage's turn has come:
  where the stages above it came out with the same bytes as before, or where only outputs were deleted, it fetches the outputs
  from its cache instead of running the command. It also writes dvc.lock.
- A job holds DVC's lock only while it judges and records. While its command runs it holds the stage's lease, on any machine of
  a shared disk: a second run of the stage stops with one line, and whoever looks (`dvc status`, `snakemake -n`) disturbs nothing.
- Only Snakemake's main process asks DVC. Its jobs on a cluster read what it wrote (run_folder.py).
- Snakemake removes a job's outputs before the job starts. What git keeps and DVC does not (`cache: false`) is therefore put
  into DVC's cache beforehand, for every stage that may turn out to be right as it is.
- The stage check removes further sources, and results of other data sets, that no stage makes any more, but only after DVC was
  asked. So stages that read their folder are stale beforehand.
- A guard (`meta: {guard: true}`) is a check whose output always has the same bytes: it makes no stage below it stale. A stage
  below it that has to run waits for it; a clean one lets go of it, since Snakemake does not look at the notes of stages
  below a job that runs, not even where `ancient()` keeps that job from making them run.

`meta:` of a stage may hold:

- `threads`, and `resources: {mem_mb, runtime, gpu}`, as Snakemake takes them;
- `guard: true`;
- `local: true`: under Snakemake with a cluster the job runs on the machine of the main process, where the internet is, and not on
  a node: for what is light or downloads;
- `scatter: {shards, each, unless}`: Snakemake builds the stage in that many shards in parallel, each by the command `each`,
  which contains `{shard}` and `{note}`, a file outside every output that it writes. Then the stage's own command runs as usual:
  it must find the finished shards and make missing ones, so that DVC, which runs only this command, gets the same bytes. A note
  only says that its command succeeded; the command itself must track what was made from what. `unless: {value, among}`: no
  shards for these values of a param. Nor are there any if only outputs are missing, because DVC has them in its cache.

An output without a suffix is taken for a folder. Since DVC has the last word, `snakemake --forcerun` does not run a command
again whose outputs the cache holds; `dvc repro --force --single-item STAGE` does.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.orphans import is_ending
from depthmask.base.stage_lease import list_running, wait_for_ending
from depthmask.base.terminal import note
from depthmask.dvc_failures import report_dvc_errors, require_replaceable, require_writable_cache
from depthmask.dvc_in_process import leave_no_entries, let_locks_expire, read_params_once
from depthmask.dvc_lock import remove_cut_off_rwlock
from depthmask.file_dates import date_back, is_dated_after, read_disk_clock
from depthmask.missing_data import note_missing_data
from run_folder import name_folder, read_graph

CLOCK = "clock"  # a file whose date is the time on the disk's clock, before any note was written
JOB = Path(__file__).with_name("stage_job.py")
SHARDS = Path(".shards")
# folders of which stages come and go with a key of params.yaml, and what is in the folder of each
FURTHER = {Path("data/raw_more"): "source.json", Path("reports/other"): "metrics.json"}
META_KEYS = {"threads", "resources", "guard", "local", "scatter"}
SCATTER_KEYS = {"shards", "each", "unless"}
PATIENCE_S = 30.0  # for processes that a killed run has left running
LOOK_EVERY_S = 0.3
VANISHED_MAX = 3  # tries in which a file was gone while it was being read


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, with `${...}`, foreach and matrix resolved.

    `inputs` are outputs of other stages, and files or folders that no stage makes.
    """

    name: str  # DVC's address, e.g. evaluate@val
    rule: str  # the same as a name that Snakemake takes: evaluate_val
    description: str
    command: str  # what the stage runs under either tool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: str  # JSON of {dotted key: value}, keys sorted
    meta: Mapping[str, Any]
    in_shards: bool = True  # whether Snakemake builds it in shards, if it has `scatter`
    clean: bool = False  # dvc.lock vouches for the stage and for everything above it
    notes: tuple[str, ...] = ()  # why it is stale: at most one file, newer than its outputs

    @property
    def threads(self) -> int:
        return self.meta.get("threads", 1)

    @property
    def resources(self) -> dict[str, Any]:
        """Without those that are 0: a cluster scheduler would treat `gpu=0` as a request."""
        return {name: amount for name, amount in self.meta.get("resources", {}).items() if amount}

    @property
    def is_guard(self) -> bool:
        return bool(self.meta.get("guard"))

    @property
    def is_local(self) -> bool:
        return bool(self.meta.get("local"))

    @property
    def log(self) -> str:
        return f"logs/{self.rule}.log"

    @property
    def shards(self) -> tuple[str, ...]:
        """The notes of its shards under Snakemake; empty for most stages."""
        scatter = self.meta.get("scatter")
        if scatter is None or not self.in_shards or scatter["unless"]["value"] in scatter["unless"]["among"]:
            return ()
        return tuple(self._name_note(shard) for shard in range(scatter["shards"]))

    @property
    def job(self) -> str:
        """The shell command of its Snakemake job: makes the outputs and records them in dvc.lock."""
        return f"python {shlex.quote(str(JOB))} {shlex.quote(self.name)}"

    def shard_job(self, shard: int) -> str:
        """The shell command that makes one shard."""
        return self.meta["scatter"]["each"].format(shard=shard, note=self._name_note(shard))

    def _name_note(self, shard: int) -> str:
        return str(SHARDS / self.rule / f"{shard:04d}.json")


def load_stages(*, with_status: bool, is_dry: bool = False) -> list[Stage]:
    """Every stage of ./dvc.yaml; `with_status` also asks DVC which are stale, and leaves a note for each of those.

    Only Snakemake's main process needs the status: jobs have been judged already. is_dry: nothing is going to run, so that
    nothing is prepared for it.

    Raises:
        UserError: dvc.yaml or dvc.lock is unreadable, another DVC run holds the lock, or a stage's `meta` is invalid.
    """
    from dvc.lock import LockError

    if with_status:
        wait_for_ending()
    until, is_announced, vanished = time.monotonic() + PATIENCE_S, False, 0
    while True:
        try:
            return _load_stages(with_status=with_status, is_dry=is_dry, is_last=vanished >= VANISHED_MAX)
        except FileNotFoundError:  # removed or replaced by a job of another run while DVC was reading it
            if vanished >= VANISHED_MAX:
                raise
            vanished += 1
            continue
        except LockError as error:
            numbers = sorted({int(number) for number in re.findall(r"PID (\d+)", str(error))})
            others = ", ".join(f"PID {number}" for number in numbers)
            if not numbers or not all(map(is_ending, numbers)) or time.monotonic() > until:
                raise UserError(f"another run is active here ({others or 'unknown'}); wait for it or stop it") from error
        if not is_announced:
            note(f"waiting for processes of a killed run to end ({others})")
            is_announced = True
        time.sleep(LOOK_EVERY_S)


def read_stages() -> list[Stage]:
    """The stages as this job's main process judged them; if it left nothing here, they are resolved again, without a status.

    Raises:
        UserError: as `load_stages`.
    """
    values = read_graph()
    if values is None:
        note("the graph that this job's Snakemake wrote is missing; reading dvc.yaml again")
        return load_stages(with_status=False)
    return [Stage(**{name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}) for one in values]


def refuse_second_run() -> None:
    """Raise UserError if a stage of the working folder is being run, by any tool on any machine."""
    running = list_running()
    if running:
        others = ", ".join(f"{lease.stage} {lease.describe()}" for lease in running)
        raise UserError(f"another run is active here ({others}); wait for it or stop it")


def _load_stages(*, with_status: bool, is_dry: bool, is_last: bool) -> list[Stage]:
    """As `load_stages`. is_last: a FileNotFoundError is one line, too."""
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    now, inputs = read_disk_clock(name_folder() / CLOCK, write=with_status), set()
    leave = (LockError,) if is_last else (LockError, FileNotFoundError)
    # without git's part: a third faster; under one lock from the first look on, or `status` reads the graph a second time
    with (
        report_dvc_errors(inputs, leave),  # DVC's commands print such an error in a line, and Snakemake as a traceback
        leave_no_entries(),
        let_locks_expire(),
        read_params_once(),
        Repo(".", config={"core": {"no_scm": True}}, _wait_for_lock=True) as repo,
        lock_repo(repo),
    ):
        if with_status:
            remove_cut_off_rwlock(Path(repo.tmp_dir))
        found = {stage.addressing: stage for stage in repo.index.stages if stage.cmd}
        inputs |= {dep.def_path for stage in found.values() for dep in stage.deps}
        for folder in FURTHER:
            if str(folder) in inputs:  # empty where nothing is named, so that whoever cleans up may have removed it
                folder.mkdir(parents=True, exist_ok=True)
        makers = {out.def_path: name for name, stage in found.items() for out in stage.outs}
        inside = _sort_by_folder(makers)
        stages = {name: _make_stage(stage, makers, inside, now) for name, stage in found.items()}
        if not with_status:
            return list(stages.values())
        why_stale, above = repo.status(), _find_above(stages, makers)
        note_missing_data(repo, found, above, why_stale)
        for name, why in _find_gone(found, makers).items():
            why_stale.setdefault(name, []).append(why)
        stages = _judge_stages(stages, makers, above, why_stale)
        if not all(stage.clean for stage in stages.values()):
            require_writable_cache(repo)
            require_replaceable(repo, (path for stage in stages.values() if not stage.clean for path in stage.outputs))
            date_back((path for stage in stages.values() for path in (*stage.outputs, *stage.shards)), now)
        for name, stage in stages.items():
            if not is_dry and not stage.clean and "changed outs" not in str(why_stale.get(name)):
                _cache_outputs(found[name])
    return list(stages.values())


def _find_gone(stages: Mapping[str, Any], makers: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Why stages are stale that read a folder of which the stage check is going to remove what no stage makes any more."""
    why_stale: dict[str, dict[str, list[str]]] = {}
    for folder, file in FURTHER.items():
        gone = [path for path in sorted(folder.glob(f"*/{file}")) if not {str(path), str(path.parent)} & makers.keys()]
        if gone:
            readers = [name for name, stage in stages.items() if any(dep.def_path == str(folder) for dep in stage.deps)]
            why_stale |= {name: {"no longer made": [str(path.parent) for path in gone]} for name in readers}
    return why_stale


def _make_stage(stage: Any, makers: Mapping[str, str], inside: Mapping[str, list[str]], now: float) -> Stage:
    from dvc.dependency.param import ParamsDependency

    params: dict[str, Any] = {}
    inputs: dict[str, None] = {}  # an ordered set
    for dependency in stage.deps:
        if isinstance(dependency, ParamsDependency):
            params.update(dependency.read_params())
        else:
            inputs.update(dict.fromkeys(_find_inputs(dependency.def_path, makers, inside)))
    meta, outputs = stage.meta or {}, tuple(out.def_path for out in stage.outs)
    _check_meta(stage.addressing, meta)
    for path in (*inputs, *outputs):
        if "{" in path or "}" in path:
            raise UserError(
                f"dvc.yaml: {stage.addressing}: {path} contains a brace, which Snakemake treats as a wildcard; rename it"
            )
    command = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
    return Stage(
        name=stage.addressing,
        rule=re.sub(r"\W", "_", stage.addressing),
        description=stage.desc or command,
        command=command,
        inputs=tuple(path for path in inputs if path in makers or not is_dated_after(path, now)),
        outputs=outputs,
        # one string: Snakemake compares params as a set, and would not see two that swap values
        params=json.dumps(params, sort_keys=True, default=str),
        meta=meta,
    )


def _check_meta(name: str, meta: Mapping[str, Any]) -> None:
    if unknown := set(meta) - META_KEYS:
        raise UserError(f"dvc.yaml: {name}.meta: unknown key {sorted(unknown)[0]}; allowed keys: {', '.join(sorted(META_KEYS))}")
    for key in ("guard", "local"):
        if not isinstance(meta.get(key, False), bool):
            raise UserError(f"dvc.yaml: {name}.meta.{key}: {meta[key]}; allowed: true, false")
    scatter = meta.get("scatter")
    if scatter is None:
        return
    if set(scatter) != SCATTER_KEYS:
        wanted = ", ".join(sorted(SCATTER_KEYS))
        raise UserError(f"dvc.yaml: {name}.meta.scatter: {', '.join(scatter)}; allowed: exactly {wanted}")
    if set(scatter["unless"]) != {"value", "among"}:
        raise UserError(f"dvc.yaml: {name}.meta.scatter.unless: {', '.join(scatter['unless'])}; allowed: exactly among, value")
    if not isinstance(scatter["shards"], int) or scatter["shards"] < 1:
        raise UserError(f"dvc.yaml: {name}.meta.scatter.shards: {scatter['shards']}; allowed: a whole number of at least 1")


def _find_inputs(path: str, makers: Mapping[str, str], inside: Mapping[str, list[str]]) -> list[str]:
    """A DVC dependency in Snakemake's terms: the outputs that it is, contains or lies in; else the path as it is.

    A folder that no stage makes stays one input, however many files it holds: DVC has compared their contents.
    """
    made = [place for place in _list_places(path) if place in makers] + inside.get(path, [])
    return made or [path]


def _list_places(path: str) -> list[str]:
    """The folders that a path lies in, from the outermost on, and the path itself."""
    return list(itertools.accumulate(path.split("/"), "{}/{}".format))


def _sort_by_folder(outputs: Iterable[str]) -> dict[str, list[str]]:
    """The outputs in each folder; with a thousand stages, going through all outputs for each dependency would take a minute."""
    inside: dict[str, list[str]] = {}
    for output in outputs:
        for folder in _list_places(output)[:-1]:
            inside.setdefault(folder, []).append(output)
    return inside


def _find_above(stages: Mapping[str, Stage], makers: Mapping[str, str]) -> dict[str, set[str]]:
    """By name of a stage, those whose outputs it reads; guards do not count, whose output always has the same bytes."""
    guards = {name for name, stage in stages.items() if stage.is_guard}
    return {name: {makers[path] for path in stage.inputs if path in makers} - guards for name, stage in stages.items()}


def _judge_stages(
    stages: Mapping[str, Stage], makers: Mapping[str, str], above: Mapping[str, set[str]], why_stale: Mapping[str, Any]
) -> dict[str, Stage]:
    """Say which stages are clean, and leave a note for those that are stale."""
    clean: dict[str, bool] = {}

    def is_clean(name: str) -> bool:
        """Whether neither the stage nor one above it is stale."""
        if name not in clean:
            clean[name] = name not in why_stale and all(map(is_clean, above[name]))
        return clean[name]

    def lacks_only_outputs(name: str) -> bool:
        """Whether what the stage is made from is as dvc.lock has it, and will stay so."""
        return all(map(is_clean, above[name])) and all(
            isinstance(why, dict) and set(why) == {"changed outs"} for why in why_stale[name]
        )

    stale_guards = {name for name in why_stale if stages[name].is_guard}
    judged = {}
    for name, stage in stages.items():
        if name in why_stale:
            notes = (_leave_note(stage, why_stale[name]),)
            judged[name] = replace(stage, notes=notes, in_shards=not lacks_only_outputs(name))
        elif is_clean(name):
            inputs = tuple(path for path in stage.inputs if makers.get(path) not in stale_guards)
            judged[name] = replace(stage, clean=True, inputs=inputs)
        else:
            judged[name] = stage
    return judged


def _leave_note(stage: Stage, why_stale: object) -> str:
    note = name_folder() / f"{stage.rule}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    # the time makes every note unlike the last: Snakemake takes an input with the same checksum for unchanged
    note.write_text(json.dumps({"seen": time.time_ns(), "why": why_stale}, indent=1, default=str), encoding="utf-8")
    return str(note)


def _cache_outputs(stage: Any) -> None:
    """Put a DVC stage's `cache: false` outputs, which are as dvc.lock has them, into the cache too; no file is changed."""
    for out in stage.outs:
        if not out.use_cache and out.hash_info and out.exists:
            out.use_cache = True
            out.commit(relink=False)
