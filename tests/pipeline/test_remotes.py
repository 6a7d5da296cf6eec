"""docs/remotes.md: what was pushed, to S3 or to a folder, gives a fresh clone the results of any commit and experiment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from making_graphs import DVC_YAML, make_project
from running_tools import find_different, require_nothing_to_do, run, run_dvc

pytestmark = pytest.mark.slow

FILES = ("first.txt", "second_a/copy.txt", "second_b/copy.txt", "last.txt")  # what git does not have
MISSING = "note: 4 outputs of 0.0 MB that dvc.lock records are not in DVC's cache; to fetch what was pushed"


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, str]]:
    """The address of an S3 bucket, and the server that has it."""
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed (development extra)")
    import botocore.session

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = botocore.session.get_session().create_client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="lab")
        yield "s3://lab/depthmask", f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module", params=["s3", "folder"])
def origin(request, tmp_path_factory) -> Path:
    """A project with two commits and an experiment, all pushed; beside it `origin.git`, and each commit's outputs in `kept`."""
    tmp_path = tmp_path_factory.mktemp("origin")
    root = make_project(tmp_path / "project", DVC_YAML)
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (root / ".gitignore").write_text(".snakemake/\nlogs/\n__pycache__/\n")
    for name in ("demo", "photos", "ensemble"):
        (root / "data" / name / "of_git.txt").touch()  # git keeps no empty folder
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    if request.param == "s3":
        url, server = request.getfixturevalue("bucket")
        run(root, "dvc", "remote", "add", "--default", "storage", url)
        run(root, "dvc", "remote", "modify", "storage", "endpointurl", server)
    else:
        run(root, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    for name, text in (("one", "abcdef"), ("two", "uvwxyz")):
        (root / "source/text.txt").write_text(text)
        assert "first" in run_dvc(root)
        run(root, "git", "add", "--all")
        run(root, "git", "commit", "--quiet", "--message", name)
        run(root, "dvc", "push")
        keep(root, tmp_path / "kept" / name)
    run(root, "git", "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    run(root, "git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    run(root, "dvc", "exp", "run", "--name", "other", "--set-param", "report.title=other")
    run(root, "dvc", "exp", "push", "origin", "other")
    keep(root, tmp_path / "kept/other")
    shutil.rmtree(root)  # so that nothing can come from its cache
    return tmp_path / "origin.git"


def keep(root: Path, to: Path) -> None:
    for name in FILES:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, to / name)


def test_a_fresh_clone_any_commit_and_an_experiment_have_their_results(origin, tmp_path):
    kept, clone = origin.parent / "kept", tmp_path / "clone"
    assert find_different(kept / "one", kept / "two", FILES) == list(FILES)
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(clone))
    assert MISSING in run(clone, "snakemake", "--dry-run").stdout

    run(clone, "dvc", "pull")
    assert find_different(clone, kept / "two", FILES) == []
    assert MISSING not in run(clone, "snakemake", "--dry-run").stdout
    require_nothing_to_do(clone)

    run(clone, "git", "checkout", "--quiet", "HEAD~1")
    run(clone, "dvc", "pull")
    assert find_different(clone, kept / "one", FILES) == []
    require_nothing_to_do(clone)

    run(clone, "git", "checkout", "--quiet", "main")
    run(clone, "dvc", "checkout")
    run(clone, "dvc", "exp", "pull", "origin", "other")
    run(clone, "dvc", "exp", "apply", "other")
    assert find_different(clone, kept / "other", FILES) == []
    assert find_different(clone, kept / "two", FILES) == ["last.txt"]
    require_nothing_to_do(clone)


def test_one_file_of_a_commit_comes_without_a_checkout_and_missing_ones_are_pulled_by_repro(origin, tmp_path):
    run(tmp_path, "dvc", "get", str(origin), "last.txt", "--rev", "main~1", "--out", "old.txt")
    assert (tmp_path / "old.txt").read_bytes() == (origin.parent / "kept/one/last.txt").read_bytes()
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(clone))
    assert run_dvc(clone, "--pull") == set(), "no command is run"
    assert find_different(clone, origin.parent / "kept/two", FILES) == []
