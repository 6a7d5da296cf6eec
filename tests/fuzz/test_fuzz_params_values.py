"""Whole params files within the schema, extremes among them, through all stages: no traceback, and nothing that hangs.

DEPTHMASK_FUZZ_CASES: how many; DEPTHMASK_FUZZ_FIRST: the number of the first, to see one again; DEPTHMASK_FUZZ_CODE: the folder
`workflow` of other code that is to run the same files, such as that of an older commit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from drawing_params import AT_BOUNDS, KEYS, PHASE, TRANSFORMS, DrawnCase, draw_case
from fuzzing import Outcome, Tally, count_cases, judge
from making_layouts import WRITERS, make_composites
from running_stages import STAGES
from tiny_project import ROOT, TINY

from depthmask.params import Params
from depthmask.params.augment import TRANSFORMS as KNOWN_TRANSFORMS

SHORT = 6
CASE_SECONDS, STOP_AFTER_SECONDS = 150, 8
ASSETS = ("bg", "bg_depth", "fg", "fg_depth")


def make_tiny() -> dict:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in TINY.items():
        values[section] |= changes
    values["pack"]["shards"] = 3
    return values


def read_commands() -> dict[str, str]:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: graph[name]["cmd"] for name in STAGES}


def cut_demo(folder: Path, num_assets: int) -> None:
    """The first backgrounds and cut-outs of the demo pack."""
    source, pack = ROOT / "data/demo", json.loads((ROOT / "data/demo/pack.json").read_text())
    for kind in ASSETS:
        (folder / kind).mkdir(parents=True)
        for file in sorted((source / kind).iterdir())[:num_assets]:
            (folder / kind / file.name).symlink_to(file)
    for name, entries in pack.items():
        if isinstance(entries, dict) and all(key.isdigit() for key in entries):
            pack[name] = {key: entry for key, entry in entries.items() if int(key) < num_assets}
    (folder / "pack.json").write_text(json.dumps(pack))


def prepare(folder: Path, case: DrawnCase, sources: Path) -> None:
    """A project of its own with the drawn params; `sources` keeps the data that cases share."""
    folder.mkdir()
    values, data = case.values, sources / f"{case.source}_{case.num_assets}"
    if case.source == "demo":
        if not data.is_dir():
            cut_demo(data, case.num_assets)
    else:
        data = sources / case.source
        composites = make_composites(8, 4, 2)
        changes = WRITERS[case.source](data, composites)[0] if not data.is_dir() else None
        kept = sources / f"{case.source}.json"
        if changes is not None:
            kept.write_text(json.dumps(changes))
        values["download"] |= {"source": case.source, **json.loads(kept.read_text())}
    values["download"]["path"] = str(data)
    values["evaluate"]["photos"] = "photos"
    (folder / "photos").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (folder / "workflow").symlink_to(ROOT / "workflow")
    environment = {"DEPTHMASK_WORKERS": str(case.workers), "DEPTHMASK_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    described = {
        "commands": read_commands(),
        "stages": STAGES[:1] if case.is_checked_only else STAGES,
        "environment": environment,
        "seconds": CASE_SECONDS,
        "stop_after": STOP_AFTER_SECONDS if case.is_stopped else None,
    }
    (folder / "case.json").write_text(json.dumps(described))


def run_cases(root: Path, numbers: list[int]) -> Iterator[tuple[int, DrawnCase, Outcome, dict]]:
    tiny, sources = make_tiny(), root / "sources"
    sources.mkdir(parents=True)
    cases = {number: draw_case(number, tiny) for number in numbers}
    folders = {number: root / f"case{number}" for number in numbers}
    for number, case in cases.items():
        prepare(folders[number], case, sources)
    code = os.environ.get("DEPTHMASK_FUZZ_CODE") or str(ROOT / "workflow")
    runner = Path(__file__).parents[1] / "running_stages.py"
    with (root / "runner.txt").open("w") as log:
        subprocess.run(
            [sys.executable, str(runner), *map(str, folders.values())],
            env=os.environ | {"PYTHONPATH": code, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    for number, folder in folders.items():
        ended = json.loads((folder / "outcome.json").read_text())
        text = (folder / "stderr.txt").read_text(errors="replace")
        if ended["code"] is None:
            outcome = Outcome("hang", text)
        elif ended["asked_to_stop"] and ended["code"] == -signal.SIGTERM and "Traceback" not in text:
            outcome = Outcome("refused", text)  # between two stages, where nobody listens to a request to stop
        else:
            outcome = judge(ended["code"], text)
        if outcome.kind != "ran":
            outcome = Outcome(outcome.kind, f"at {ended['stage']} after {ended['seconds']} s: {outcome.text}")
        yield number, cases[number], outcome, ended
        if outcome.kind in ("ran", "refused"):
            shutil.rmtree(folder)


@pytest.mark.slow
def test_params_files_within_the_schema_run_or_are_rejected_in_a_line(tmp_path):
    first = int(os.environ.get("DEPTHMASK_FUZZ_FIRST") or 0)
    tally, stages = Tally(), Counter()
    half = count_cases(SHORT) // 2
    numbers = [*range(first, first + count_cases(SHORT) - half), *range(AT_BOUNDS + first, AT_BOUNDS + first + half)]
    for number, case, outcome, ended in run_cases(tmp_path / "run", numbers):
        tally.add(f"case {number}", outcome)
        how = "stopped" if ended["asked_to_stop"] and ended["code"] == 143 else outcome.kind
        stages["only checked" if case.is_checked_only else f"{how} at {ended['stage']}"] += 1
        print(number, how, ended, outcome.text.strip().splitlines()[-1:] if outcome.kind != "ran" else "", flush=True)
    print(dict(stages))
    tally.check("params files")


def test_every_number_of_the_schema_is_drawn():
    """A key that is added is drawn too: all of a phase, all transforms, and all numbers of the other sections."""
    assert set(PHASE) == set(Params.model_fields["pretrain"].annotation.model_fields) - {"loss", "more_phases"}
    drawn = {name: set(fields) for group in TRANSFORMS.values() for name, fields in group}
    assert drawn == {name: set(cls.model_fields) - {"transform", "probability"} for name, cls in KNOWN_TRANSFORMS.items()}
    numbers = {key for key, values in KEYS.items() if any(isinstance(v, int | float) for values in values for v in values)}
    for section in ("split", "compose", "evaluate", "report", "compute", "pack"):
        values = make_tiny()[section]
        known = {f"{section}.{name}" for name, value in values.items() if isinstance(value, int | float)}
        assert known <= numbers, known - numbers
