"""The commit of the code that ran, or why it is unknown, with what to do."""

from __future__ import annotations

import subprocess
import types
from pathlib import Path

import pytest
from running_tools import run

from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.preflight.project import check_project
from depthmask.reporting.context import read_changes
from depthmask.reporting.runs_file import describe_commit
from depthmask.runs import commit as commit_module
from depthmask.runs import run_record
from depthmask.runs.commit import explain_ownership, read_commit

PROJECT = Path(__file__).parents[2]
CURE = "git config --global --add safe.directory"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A git repository with a commit, read as this user's whoever runs the tests."""
    root = tmp_path / "a project"
    root.mkdir()
    (root / "params.yaml").write_text("seed: 1\n")
    run(root, "git", "init", "--quiet")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "first")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def foreign(project, monkeypatch) -> Path:
    """The same, of another user, as far as git is concerned."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return project


def test_commit_and_whether_the_given_paths_differ_from_it(project):
    known = read_commit(["params.yaml"])
    assert known.name == run(project, "git", "rev-parse", "HEAD").stdout.strip() and known.is_dirty is False
    (project / "other.txt").write_text("x")
    assert read_commit(["params.yaml"]).is_dirty is False
    (project / "params.yaml").write_text("seed: 2\n")
    assert read_commit(["params.yaml"]).is_dirty is True


def test_outside_of_git_and_before_the_first_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_commit(["a"]).reason == "the project is not a git repository"
    run(tmp_path, "git", "init", "--quiet")
    unknown = read_commit(["a"])
    assert (unknown.name, unknown.is_dirty, unknown.reason) == (None, None, "the project has no commit yet")
    monkeypatch.setenv("PATH", "")
    assert read_commit(["a"]).reason == "git is not installed"


def test_a_git_that_does_not_answer(monkeypatch):
    def wait(command, **_):
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr(commit_module.subprocess, "run", wait)
    assert read_commit(["a"]).reason == "git did not answer within 20 s"


def test_a_repository_of_another_user_gets_gits_cure_in_the_record_and_on_the_page(foreign, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with run_record.record_run("one", tmp_path / "run.json", {}):
        pass
    record = read_json(tmp_path / "run.json")
    assert record["commit"] is None and record["dirty"] is None
    assert record["commit_unknown"].startswith(f"{foreign} belongs to another user")
    assert record["commit_unknown"].endswith(f"{CURE} '{foreign}'"), "to be pasted into a shell"
    (line,) = describe_commit(types.SimpleNamespace(runs=[record, record]))
    assert "".join(line["text"]) == f"The commit is unknown: {record['commit_unknown']}."


def test_check_warns_of_it_before_anything_runs(foreign, monkeypatch, capsys):
    (foreign / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    (foreign / "data").symlink_to(PROJECT / "data")
    check_project(Path("params.yaml"))
    assert "warning: run records will lack the commit: " in (told := capsys.readouterr().err) and CURE in " ".join(told.split())
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    check_project(Path("params.yaml"))
    assert CURE not in capsys.readouterr().err


def test_a_known_commit_has_no_reason(project, tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "WHAT_DECIDES", ("params.yaml",))
    with run_record.record_run("one", tmp_path / "run.json", {}):
        pass
    record = read_json(tmp_path / "run.json")
    assert record["commit"] == run(project, "git", "rev-parse", "HEAD").stdout.strip() and "commit_unknown" not in record


def test_code_outside_of_the_repository_has_no_commit_of_it(project, tmp_path):
    unknown = read_commit(["params.yaml", tmp_path / "elsewhere"])
    assert unknown.name is None and "is outside repository" in unknown.reason and not unknown.is_foreign


def test_compare_in_a_repository_of_another_user_is_one_line(project, monkeypatch):
    from dvc.repo import Repo
    from pygit2 import GitError

    def refuse(*_, **__):
        raise GitError(f"{project}/.git/: repository path '{project}' is not owned by current user")

    run(project, "dvc", "init", "--quiet")
    monkeypatch.setattr(Repo, "scm", property(refuse))
    with pytest.raises(UserError, match=f"^--compare HEAD: {project} belongs to another user.*{CURE} '{project}'$") as error:
        read_changes(Path("metrics.json"), "HEAD")
    assert "\n" not in str(error.value)
    assert CURE in read_changes(Path("metrics.json"), None).reason, "the page of a run says so instead"


def test_other_errors_are_not_about_the_owner():
    assert explain_ownership("fatal: bad object HEAD") is None
    libgit2 = "/home/me/clone/.git/: repository path '/home/me/clone/.git/' is not owned by current user"
    assert explain_ownership(libgit2).endswith(f"{CURE} /home/me/clone")
