"""What stages leave beside their results: of download and split too, and without torch where they do without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from depthmask.base.files import read_json
from depthmask.runs.run_record import record_run
from stages import split as split_stage

PROJECT = Path(__file__).parents[2]


def test_record_has_time_memory_and_what_the_stage_adds(tmp_path):
    with record_run("one", tmp_path / "run.json", {"seed": 3}) as record:
        record.extra["own"] = 1
    run = read_json(tmp_path / "run.json")
    assert run["stage"] == "one" and run["params"] == {"seed": 3} and run["extra"]["own"] == 1
    assert run["seconds"] >= 0 and run["extra"]["peak_memory_mib"] > 10
    with record_run("two", tmp_path / "run.json", {}) as record:
        record.extra["peak_memory_mib"] = 5
    assert read_json(tmp_path / "run.json")["extra"] == {"peak_memory_mib": 5}


def test_nothing_is_recorded_where_no_record_is_asked_for(tmp_path):
    with record_run("one", None, {}):
        pass
    assert list(tmp_path.iterdir()) == []


def test_split_records_its_run(raw, tmp_path):
    argv = ["--params", str(PROJECT / "params.yaml"), "--raw", str(raw), "--out", str(tmp_path / "split")]
    assert split_stage.main([*argv, "--run", str(tmp_path / "run.json")]) == 0
    run = read_json(tmp_path / "run.json")
    assert run["stage"] == "split" and set(run["params"]) == {"seed", "split", "compose"}


def test_hardware_is_described_without_loading_torch():
    code = """import sys
from depthmask.runs.hardware import describe_hardware
cores = describe_hardware()["cores"]
assert "torch" not in sys.modules
print(cores)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(PROJECT / "workflow")}, capture_output=True, text=True
    )
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr
