"""Small made-up pipelines, as the Snakefile sees them and as both tools run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dvc.repo
import pytest
import yaml
from making_graphs import DVC_YAML, make_project
from running_tools import TOOLS, is_dvc_clean, is_snakemake_done, run_dvc, run_snakemake

import stage_graph
from depthmask.base.errors import UserError
from stage_graph import Stage, load_stages


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The small pipeline, made by Snakemake; to be copied, not changed."""
    root = make_project(tmp_path_factory.mktemp("made") / "project", DVC_YAML)
    assert run_snakemake(root) == {"guard", "first", "second@a", "second@b", "last"}
    return root


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    return root


def judge() -> dict[str, Stage]:
    return {stage.name: stage for stage in load_stages(with_status=True)}


def change_title(root: Path) -> None:
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("title: depthmask", "title: other"))


def test_stages_are_resolved_as_dvc_resolves_them(project):
    stages = {stage.name: stage for stage in load_stages(with_status=False)}
    assert stages["second@a"].rule == "second_a"
    assert stages["second@a"].outputs == ("second_a", "second_a.csv")
    assert stages["second@a"].resources == {"gpu": 1}
    assert stages["first"].resources == {"mem_mb": 100}, "a cluster would take gpu=0 for a request"
    assert stages["first"].threads == 2
    assert stages["first"].inputs == ("guard.txt", "source"), "a folder that no stage makes is one input"
    assert stages["last"].inputs == ("second_a", "second_b"), "a file in an output stands for that output"
    assert json.loads(stages["last"].params) == {"report.title": "depthmask"}
    assert stages["guard"].is_guard


def test_all_is_clean_for_both_tools_after_one(project):
    assert all(stage.clean and not stage.notes for stage in judge().values())
    assert is_dvc_clean(project)
    assert run_dvc(project) == set()
    assert is_snakemake_done(project)


def test_changed_param_makes_stale_what_reads_it_and_the_guard(project):
    change_title(project)
    stages = judge()
    assert {name for name, stage in stages.items() if stage.notes} == {"guard", "last"}
    assert stages["first"].clean, "a guard makes nothing below it stale"
    assert "guard.txt" not in stages["first"].inputs, "Snakemake would not look at notes below the guard"
    assert run_snakemake(project) == {"guard", "last"}
    assert is_dvc_clean(project)
    assert "title: other" in (project / "last.txt").read_text()


@pytest.mark.slow
def test_stale_stage_waits_for_its_guard(project):
    change_title(project)
    (project / "source/text.txt").write_text("xyz")
    assert "guard.txt" in judge()["first"].inputs
    assert run_snakemake(project) == {"guard", "first", "second@a", "second@b", "last"}


def test_every_note_is_unlike_the_last(project):
    change_title(project)
    texts = {Path(judge()["last"].notes[0]).read_text() for _ in range(2)}
    assert len(texts) == 2


@pytest.mark.slow
def test_same_bytes_again_stop_the_run_as_under_dvc(project, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other)
    for root in (project, other):
        (root / "source/text.txt").write_text("abcxyz")
    assert run_dvc(other) == {"first"}
    assert run_snakemake(project) == {"first"}, "the others are fetched from the cache"
    assert (project / "second_a.csv").read_text() == "abc\n"
    assert is_dvc_clean(project)
    assert is_snakemake_done(project)


@pytest.mark.slow
def test_deleted_outputs_come_back(project):
    shutil.rmtree(project / "second_a")
    for name in ("first.txt", "second_b.csv", "guard.txt"):
        (project / name).unlink()
    assert run_snakemake(project) == {"guard"}, "the others are fetched from the cache"
    assert (project / "second_a/copy.txt").exists()
    assert (project / "second_b.csv").exists()
    assert is_dvc_clean(project)


def test_snakemakes_own_records_are_not_needed(project):
    shutil.rmtree(project / ".snakemake")
    for path in ["source/text.txt", "first.txt", "params.yaml"]:
        (project / path).touch()
    assert is_snakemake_done(project)


@pytest.mark.slow
def test_failed_stage_is_reported_with_its_log_and_recorded_nowhere(project):
    change_title(project)
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("&& grep title", "&& echo broken >&2 && exit 3 && grep title"))
    with pytest.raises(AssertionError, match="broken"):
        run_snakemake(project)
    (project / "dvc.yaml").write_text(text)
    assert run_snakemake(project) == {"last"}
    assert is_dvc_clean(project)


@pytest.mark.slow
def test_folder_outside_the_project(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(5):
        (outside / f"{number}.txt").write_text(str(number))
    text = "stages: {join: {cmd: cat ../outside/*.txt > joined.txt, deps: [../outside], outs: [joined.txt]}}"
    root = make_project(tmp_path / "project", text)
    monkeypatch.chdir(root)
    assert judge()["join"].inputs == ("../outside",)
    assert run_snakemake(root) == {"join"}
    assert is_snakemake_done(root)
    (outside / "3.txt").write_text("new")
    assert run_snakemake(root) == {"join"}
    assert (root / "joined.txt").read_text() == "012new4"


LIBRARY = "workflow/depthmask/packing"
LIBRARY_YAML = f"""
stages:
  library:
    cmd: cat {LIBRARY}/*.py > library.txt
    deps: [{LIBRARY}]
    outs: [library.txt]
  below:
    cmd: cp library.txt below.txt
    deps: [library.txt, {LIBRARY}]
    outs: [below.txt]
"""
# what Python, editors and systems leave beside a module, and a note of the reader's own
STRAYS = (
    *(
        "__pycache__/shards.cpython-311.pyc",
        "shards.py~",
        ".shards.py.swp",
        ".#shards.py",
        "#shards.py#",
        ".DS_Store",
        "._shards.py",
    ),
    *("4913", "shards.py.orig", "notes.txt", ".ipynb_checkpoints/shards.py"),
)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_folder_of_the_library_is_its_modules(tmp_path, tool):
    root = make_project(tmp_path / "project", LIBRARY_YAML)
    folder = root / LIBRARY
    assert TOOLS[tool](root) == {"library", "below"}
    for name in STRAYS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("stray")
    (folder / ".#gathering.py").symlink_to("user@host.1")  # how Emacs locks a file
    (folder / "shards.py").touch()
    assert is_dvc_clean(root)
    assert run_dvc(root) == set()
    assert is_snakemake_done(root)
    with (folder / "shards.py").open("a") as module:
        module.write("# changed\n")
    assert TOOLS[tool](root) == {"library", "below"}
    assert "# changed" in (root / "below.txt").read_text()
    (folder / "added.py").write_text("ADDED = 1\n")
    assert TOOLS[tool](root) == {"library", "below"}
    assert "ADDED = 1" in (root / "below.txt").read_text()
    (folder / "gathering.py").unlink()
    assert TOOLS[tool](root) == {"library", "below"}
    assert (root / "below.txt").read_text() == "".join(path.read_text() for path in sorted(folder.glob("[!.]*.py")))
    assert is_dvc_clean(root)
    assert is_snakemake_done(root)


BUILD_SCRIPT = """
import sys
from pathlib import Path
import numpy as np

def make(number):
    part = Path(f".shards/work/{number}.npy")
    if not part.exists():
        with Path("made.log").open("a") as log:
            log.write(f"{number} {sys.argv[1]}\\n")
        part.parent.mkdir(parents=True, exist_ok=True)
        np.save(part, np.random.default_rng([7, number]).random(3))
    return part

if sys.argv[1] == "all":
    Path("built.txt").write_text(str([np.load(make(number)).tolist() for number in range(3)]))
else:
    make(int(sys.argv[2]))
    Path(sys.argv[3]).write_text("made")
"""

SCATTER_YAML = """
stages:
  build:
    cmd: python build.py all
    deps: [build.py]
    outs: [built.txt]
    meta:
      scatter:
        shards: 3
        each: python build.py one {shard} {note}
        unless: {value: "${download.source}", among: [none]}
"""


@pytest.mark.slow
def test_scattered_stage_is_the_same_in_parts_and_alone(tmp_path, monkeypatch):
    alone, parts = (make_project(tmp_path / name, SCATTER_YAML) for name in ("alone", "parts"))
    for root in (alone, parts):
        (root / "build.py").write_text(BUILD_SCRIPT)
    run_dvc(alone)
    monkeypatch.chdir(parts)
    assert judge()["build"].shards == tuple(f".shards/build/000{shard}.json" for shard in range(3))
    assert run_snakemake(parts) == {"build"}
    assert (parts / "built.txt").read_text() == (alone / "built.txt").read_text()
    assert sorted((parts / "made.log").read_text().splitlines()) == ["0 one", "1 one", "2 one"]
    assert (alone / "made.log").read_text().splitlines() == ["0 all", "1 all", "2 all"]
    assert not list((parts / ".shards/build").glob("*.json")), "notes are temporary"
    assert yaml.safe_load((parts / "dvc.lock").read_text()) == yaml.safe_load((alone / "dvc.lock").read_text())
    assert is_dvc_clean(parts)
    assert is_snakemake_done(parts)
    assert is_snakemake_done(alone)


def test_notes_of_a_killed_run_are_not_believed(tmp_path):
    root = make_project(tmp_path / "project", SCATTER_YAML)
    (root / "build.py").write_text(BUILD_SCRIPT)
    (root / ".shards/build").mkdir(parents=True)
    for shard in range(3):
        (root / f".shards/build/000{shard}.json").write_text("made")
    run_snakemake(root)
    assert sorted((root / "made.log").read_text().splitlines()) == ["0 one", "1 one", "2 one"]


@pytest.mark.slow
def test_there_are_no_parts_where_none_are_wanted_or_only_outputs_are_missing(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", SCATTER_YAML.replace("[none]", "[demo]"))
    (root / "build.py").write_text(BUILD_SCRIPT)
    monkeypatch.chdir(root)
    assert judge()["build"].shards == ()
    run_snakemake(root)
    assert (root / "made.log").read_text().splitlines() == ["0 all", "1 all", "2 all"]
    (root / "dvc.yaml").write_text(SCATTER_YAML)
    (root / "built.txt").unlink()
    assert judge()["build"].shards == ()
    assert run_snakemake(root) == set(), "DVC has it in its cache"
    (root / "build.py").write_text(f"{BUILD_SCRIPT}# changed")
    assert len(judge()["build"].shards) == 3


@pytest.mark.parametrize(
    ("meta", "printed"),
    [
        ("{thread: 2}", "build.meta: unknown key thread; allowed keys: guard, local, resources, scatter, threads"),
        ("{local: yes please}", "build.meta.local: yes please; allowed: true, false"),
        ("{scatter: {shards: 2}}", "build.meta.scatter"),
        (
            "{scatter: {shards: 2, each: a, unless: {value: b}}}",
            "build.meta.scatter.unless: value; allowed: exactly among, value",
        ),
        ("{scatter: {shards: 0, each: a, unless: {value: b, among: []}}}", "build.meta.scatter.shards: 0; allowed"),
    ],
)
def test_wrong_meta_is_one_line(tmp_path, monkeypatch, meta, printed):
    root = make_project(tmp_path / "project", f"stages: {{build: {{cmd: touch a.txt, outs: [a.txt], meta: {meta}}}}}")
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=printed):
        load_stages(with_status=False)


def test_broken_graph_is_one_line(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", "stages: [")
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=r"^dvc\.yaml: ") as error:
        load_stages(with_status=False)
    assert "\n" not in str(error.value)


def write_entry(root: Path, pid: int, command: str) -> None:
    """As a DVC process with this number and command leaves it while it makes first.txt."""
    lock = {"write": {str(root / "first.txt"): {"pid": pid, "cmd": command}}, "read": {}}
    (root / ".dvc/tmp/rwlock").write_text(json.dumps(lock))


def test_run_that_is_still_at_work_is_reported(project):
    words = [sys.executable, "-c", "input()", "repro"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as dvc:
        write_entry(project, dvc.pid, "/bin/dvc repro")
        with pytest.raises(UserError, match=f"another run is active here .PID {dvc.pid}.; wait"):
            load_stages(with_status=True)
        assert json.loads((project / ".dvc/tmp/rwlock").read_text())["write"]
        dvc.communicate()


def test_a_number_that_another_process_has_now_blocks_nothing_and_its_entry_stays(project):
    """It may be the number of a DVC on another machine, which fails if somebody removes its entry."""
    for pid in (os.getppid(), 2**22 + 1):
        write_entry(project, pid, "/bin/dvc repro")
        before = (project / ".dvc/tmp/rwlock").read_text()
        assert all(stage.clean for stage in judge().values())
        assert (project / ".dvc/tmp/rwlock").read_text() == before


def test_a_file_that_a_job_removes_while_it_is_being_compared_is_looked_at_again(project, monkeypatch):
    real, times = dvc.repo.Repo.status, []

    def status(repo: dvc.repo.Repo) -> dict:
        times.append(len(times))
        if len(times) <= fails:
            raise FileNotFoundError(2, "No such file or directory", str(project / "second_a/copy.txt"))
        return real(repo)

    monkeypatch.setattr(dvc.repo.Repo, "status", status)
    fails = 2
    assert all(stage.clean for stage in judge().values()) and len(times) == 3
    fails = 100
    with pytest.raises(UserError) as error:
        load_stages(with_status=True)
    assert "second_a/copy.txt" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_always_missing_ends_the_tries(monkeypatch):
    def fail(**_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "gone.txt")

    monkeypatch.setattr(stage_graph, "_load_stages", fail)
    with pytest.raises(FileNotFoundError):
        load_stages(with_status=False)
