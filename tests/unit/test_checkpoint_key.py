"""The key of a checkpoint: all of a job, the content of its inputs, and the code that its stage imports; nothing else."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from depthmask.execution import import_closure, working_folder
from depthmask.execution.import_closure import find_closure
from depthmask.execution.working_folder import find_folder
from depthmask.sources import RECORD
from depthmask.training.job import Job
from depthmask.training.stage import list_sections, make_job

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "workflow"
STAGES = ("pretrain", "finetune")


@pytest.fixture
def job(raw, split, params, tmp_path) -> Job:
    """With every field set, on inputs that may be changed."""
    init = tmp_path / "init.safetensors"
    init.write_bytes(b"weights")
    folders = {"raw": tmp_path / "raw", "split": tmp_path / "split", "start": tmp_path / "start"}
    shutil.copytree(split, folders["split"])
    folders["start"].mkdir()
    (folders["start"] / "start.json").write_text("{}")
    folders["raw"].mkdir()
    shutil.copyfile(raw / RECORD, folders["raw"] / RECORD)
    return replace(make_job(params, "pretrain", **folders), init=init)


def change_value(value):
    """A value of the same kind that differs; a model differs in one of its own values."""
    match value:
        case BaseModel():
            name = next(iter(type(value).model_fields))
            return value.model_copy(update={name: change_value(getattr(value, name))})
        case list():
            return [*value, *value[-1:]] if value else ["more"]
        case dict():
            return value | {"more": 1}
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case None:
            return 1
    raise AssertionError(f"no change of a {type(value).__name__} is known; add one")


def change_content(path: Path) -> None:
    """Change what a file, or the first file of a folder, holds."""
    file = path if path.is_file() else min(path.iterdir())
    file.write_bytes(file.read_bytes() + b" ")


@pytest.mark.parametrize("name", [field.name for field in fields(Job)])
def test_every_field_of_a_job_changes_the_key(job, name, tmp_path):
    before = find_folder("one", job.describe(), "stages.pretrain", tmp_path)
    assert before == find_folder("one", replace(job).describe(), "stages.pretrain", tmp_path)
    if isinstance(getattr(job, name), Path):
        change_content(getattr(job, name))
        changed = job
    else:
        changed = replace(job, **{name: change_value(getattr(job, name))})
    assert find_folder("one", changed.describe(), "stages.pretrain", tmp_path) != before


def test_a_model_or_none_and_a_file_to_start_from_or_none_are_distinguished(job):
    described = [replace(job, **none).describe() for none in ({}, {"model": None}, {"init": None})]
    assert described[0] != described[1] != described[2] != described[0]


def test_where_inputs_are_does_not_change_the_key(job, tmp_path):
    moved = {name: tmp_path / "moved" / name for name in ("raw", "split")}
    for name, folder in moved.items():
        shutil.copytree(getattr(job, name), folder)
    assert replace(job, **moved).describe() == job.describe()


def test_a_field_that_no_key_can_hold_is_an_error(job):
    with pytest.raises(TypeError, match="object cannot be part of its key"):
        replace(job, seed=object()).describe()


class Recorder:
    """Params that note which sections are read."""

    def __init__(self, params):
        self.params, self.read = params, set()

    def __getattr__(self, name: str):
        self.read.add(name)
        return getattr(self.params, name)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_the_params_that_a_job_is_made_from(params, stage):
    recorder = Recorder(params)
    job = make_job(recorder, stage, Path("raw"), Path("split"), **{"init" if stage == "finetune" else "start": Path("x")})
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["params"]
    assert sorted(listed) == sorted(recorder.read) == sorted(list_sections(job))


@pytest.fixture
def copied_code(tmp_path, monkeypatch) -> Path:
    source = tmp_path / "workflow"
    shutil.copytree(WORKFLOW, source, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(working_folder, "SOURCE", source)
    return source


@pytest.mark.parametrize(
    "module", ["stages.pretrain", "stages.finetune", "stages.leaderboard.train", "stages.cross_validation.train", "stages.pack"]
)
def test_only_code_that_a_stage_imports_changes_the_key(copied_code, tmp_path, module):
    closure = set(find_closure(copied_code, module))
    others = {path for path in copied_code.rglob("*.py") if path not in closure}
    assert copied_code / "depthmask/reporting/page.py" in others
    before = find_folder("one", {}, module, tmp_path)
    for path in others:
        path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert find_folder("one", {}, module, tmp_path) == before
    for path in (copied_code / "stages/__init__.py", copied_code / "depthmask/data/images.py"):
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        assert find_folder("one", {}, module, tmp_path) != before, path
        path.write_bytes(text)


def test_lazy_imports_and_data_files_belong_to_a_closure(tmp_path):
    files = {
        "stages/__init__.py": "",
        "stages/one.py": "def run():\n    try:\n        pass\n    finally:\n        import lib.late\n",
        "lib/__init__.py": "",
        "lib/late.py": "PAGE = 'page.html'\nif TYPE_CHECKING:\n    import lib.types\nelse:\n    from . import other",
        "lib/types.py": "",
        "lib/other.py": "match 1:\n    case 1:\n        from lib import deep",
        "lib/deep.py": "",
        "lib/page.html": "",
        "lib/notes.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {path.relative_to(tmp_path).as_posix() for path in find_closure(tmp_path, "stages.one")}
    assert found == set(files) - {"lib/types.py", "lib/notes.txt"}


def test_the_closure_of_a_training_reads_each_file_once(monkeypatch):
    """It is paid at each start of a training: 0.2 s, nearly all of it parsing."""
    parsed = []
    parse = import_closure.parse_file
    monkeypatch.setattr(import_closure, "parse_file", lambda path: parsed.append(path) or parse(path))
    found = find_closure(WORKFLOW, "stages.pretrain")
    assert len(parsed) == len(set(parsed))
    assert set(parsed) <= set(found)
