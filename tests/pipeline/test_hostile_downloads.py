"""What comes from outside through a download, under both tools: no code, no secret, no waiting."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from running_tools import make_environment, run
from serving_files import run_server
from tiny_project import change_params, make_clone

pytestmark = pytest.mark.slow

SECRET = "s3cr3tPW0123"
TO_DATA = {"dvc": ("dvc", "repro", "download"), "snakemake": ("snakemake", "--cores", "1", "data/raw")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return make_clone(tmp_path_factory.mktemp("hostile") / "project")


@pytest.fixture(params=list(TO_DATA))
def project(request, clone, tmp_path, monkeypatch):
    """A copy of the clone, the command that makes its data, and a cache of its own."""
    root = tmp_path / "project"
    subprocess.run(["cp", "-a", str(clone), str(root)], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root, TO_DATA[request.param]


@pytest.fixture
def server():
    with run_server() as running:
        yield running


def zip_folder(*folders):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for folder in folders:
            for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
                archive.write(file, f"{folder.name}/{file.name}" if folder.is_dir() else file.name)
    return data.getvalue()


def zip_code():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("__init__.py", "open('/tmp/depthmask-was-here', 'w'); raise SystemExit('the server ran its code')\n")
    return data.getvalue()


def find_secret(root):
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()]


def run_with_time(root, command, seconds=240):
    return subprocess.run(
        command,
        cwd=root,
        env=make_environment(root) | {"PYTHONPATH": "workflow"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )


def read_all(root, done):
    """All that a person sees: what the tool printed, and under Snakemake the log of the stage."""
    logs = [log.read_text() for log in (root / "logs").glob("*.log")] if (root / "logs").exists() else []
    return done.stdout + "".join(logs)


def list_code(root):
    return {path.relative_to(root).as_posix() for path in (root / "workflow").rglob("*") if "__pycache__" not in path.parts}


def test_a_server_that_names_its_archive_after_a_package_runs_no_code(project, server):
    root, command = project
    demo, before = root / "data/demo", list_code(root)
    urls = [
        server.serve("/content", zip_folder(demo / "bg", demo / "bg_depth", demo / "fg", demo / "fg_depth", demo / "pack.json")),
        server.serve(
            "/2/content", zip_code(), headers={"Content-Disposition": 'attachment; filename="../../../workflow/yaml.zip"'}
        ),
    ]
    change_params(root, {"download": {"source": "demo", "path": "data/sources.csv", "urls": urls}})
    done = run(root, *command, check=False)
    output = read_all(root, done)
    assert done.returncode == 0 and "no file in it belongs to download.source: demo" in output
    assert "Traceback" not in output and "the server ran its code" not in output
    assert list_code(root) == before and not list((root / "data/raw").rglob("*.py"))
    assert not list((root / "data").glob(".*.part"))
    change_params(root, {"download": {"urls": urls[:1]}})
    run(root, *command)
    assert list_code(root) == before and (root / "data/raw/bg").is_dir()


@pytest.mark.parametrize("form", ["http://me:{}@127.0.0.1:{}/demo.zip", "http://127.0.0.1:{1}/demo.zip?X-Amz-Signature={0}"])
def test_a_password_in_params_is_rejected_and_kept_nowhere(project, server, form):
    root, command = project
    change_params(
        root, {"download": {"source": "demo", "path": "data/sources.csv", "urls": [form.format(SECRET, server.server_port)]}}
    )
    done = run(root, *command, check=False)
    output = read_all(root, done)
    assert done.returncode != 0 and re.search("contains .*, which would be copied into dvc.lock", output)
    assert SECRET not in output and "Traceback" not in output
    assert find_secret(root) == [root / "params.yaml"] and not server.asked


def test_credentials_given_otherwise_fetch_the_data_and_are_kept_nowhere(project, server, tmp_path, monkeypatch):
    root, command = project
    demo = root / "data/demo"
    url = server.serve(
        "/demo.zip", zip_folder(demo / "bg", demo / "bg_depth", demo / "fg", demo / "fg_depth", demo / "pack.json")
    )
    wanted = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
    seen = []
    monkeypatch.setattr(server, "RequestHandlerClass", watch_headers(server.RequestHandlerClass, seen))
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("DEMO_URL", f"{url}?X-Amz-Date=1&X-Amz-Signature={SECRET}")
    change_params(root, {"download": {"source": "demo", "path": "data/sources.csv", "urls": ["env:DEMO_URL"]}})
    output = read_all(root, run(root, *command))
    assert seen and all(header == wanted and f"Signature={SECRET}" in path for path, header in seen)
    assert SECRET not in output and "env:DEMO_URL" in output
    assert not find_secret(root) and not find_secret(tmp_path / "cache")
    assert "env:DEMO_URL" in (root / "dvc.lock").read_text() and "env:DEMO_URL" in (root / "data/raw/source.json").read_text()


def watch_headers(handler, seen):
    class Watching(handler):
        def do_GET(self):  # noqa: N802
            seen.append((self.path, self.headers.get("Authorization")))
            super().do_GET()

    return Watching


@pytest.mark.parametrize(
    "command",
    [
        ("snakemake", "--cores", "1", "data/raw"),
        ("python", "-m", "stages.check", "--out", "data/check.txt"),
        ("python", "-m", "stages.download", "--out", "data/raw"),
    ],
    ids=lambda command: command[-1].replace("/", " "),
)
def test_a_pipe_among_the_sources_is_one_line_and_no_waiting(clone, tmp_path, command):
    """Not `dvc repro`, which opens every file of a stage's inputs itself before it runs the stage, and waits for the pipe."""
    root = tmp_path / "project"
    subprocess.run(["cp", "-a", str(clone), str(root)], check=True)
    subprocess.run(["cp", "-a", str(root / "data/demo"), str(root / "mine")], check=True)
    os.mkfifo(root / "mine/bg/pipe.jpg")
    change_params(root, {"download": {"source": "assets", "path": "mine"}})
    done = run_with_time(root, command)
    assert done.returncode != 0 and "mine/bg/pipe.jpg" in done.stdout and "is a pipe" in done.stdout
    assert "Traceback" not in done.stdout and not Path(root / "data/raw").exists()


def test_no_tool_starts_beside_a_file_that_hides_a_package(project):
    root, command = project
    (root / "workflow/pydantic.py").write_text("raise SystemExit('the stranger ran')\n")
    done = run(root, *command, check=False)
    output = read_all(root, done)
    assert done.returncode != 0 and "workflow/pydantic.py: could be imported instead of a package" in output
    assert "the stranger ran" not in output and "Traceback" not in output
