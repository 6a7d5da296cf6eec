"""Jobs in one PID namespace, with a host name of its own, and whoever looks in another: none can hurt the other.

So it is between the nodes of a cluster and its login node: neither sees the other's processes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from making_graphs import make_project
from running_tools import is_dvc_clean, is_snakemake_done, make_environment, run, run_snakemake

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child"]


def is_permitted() -> bool:
    """Whether this user may make namespaces here."""
    return (
        shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "hostname", "n1"], capture_output=True).returncode == 0
    )


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_permitted(), reason="no permission to make namespaces")]

# `go` files let a test hold a stage's command for as long as it needs; a stage of our own, so that it takes part in leases
WAIT = """
import sys, time
from pathlib import Path
from depthmask.base.entry_points import print_errors_as_lines

@print_errors_as_lines
def main():
    name, source = sys.argv[1:]
    with Path(f"{name}.started").open("a") as started:
        started.write(f"{name}\\n")
    until = time.monotonic() + 1800
    while not Path(f"{name}.go").exists() and time.monotonic() < until:
        time.sleep(0.05)
    Path(f"{name}.txt").write_text(f"{name} of {Path(source).read_text()}")

if __name__ == "__main__":
    sys.exit(main())
"""
DVC_YAML = """
stages:
  one:
    cmd: PYTHONPATH=workflow python -m stages.wait one source/text.txt
    deps: [source]
    outs: [one.txt]
  other:
    cmd: PYTHONPATH=workflow python -m stages.wait other source/text.txt
    deps: [source]
    outs: [other.txt: {cache: false}]
  last:
    cmd: cat one.txt other.txt > last.txt
    deps: [one.txt, other.txt]
    params: [report.title]
    outs: [last.txt]
"""
PATIENCE_S = 600


@pytest.fixture
def project(tmp_path) -> Iterator[Path]:
    root = make_project(tmp_path / "project", DVC_YAML)
    (root / "workflow/stages/wait.py").write_text(WAIT)
    yield root
    let_go(root, "one", "other")  # whatever a failed test left running ends


def start_on(host: str, root: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command on a machine of its own, as far as processes and names go."""
    environ = make_environment(root)
    words = ["bash", "-c", 'hostname "$1"; shift; "$@"; exit $?', "bash", host, *command]
    return subprocess.Popen(
        [*UNSHARE, *words], cwd=root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0][-3000:]
        time.sleep(0.05)


def finish(process: subprocess.Popen[str]) -> str:
    printed = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, printed[-5000:]
    return printed


def let_go(root: Path, *names: str) -> None:
    for name in names:
        (root / f"{name}.go").touch()


LOOKS = (
    ("dvc", "--wait-for-lock", "status"),
    ("snakemake", "-n"),
    ("snakemake", "--unlock"),
)


def test_looking_on_one_machine_hurts_no_job_on_another(project, tmp_path):
    """What `dvc status` did to a job's entry in DVC's list of readers and writers ended the job."""
    plain = tmp_path / "plain"
    shutil.copytree(project, plain)
    let_go(plain, "one", "other")
    run_snakemake(plain)
    job = start_on("n1", project, "snakemake", "--cores", "2")
    for name in ("one", "other"):
        wait_for(project / f"{name}.started", job)
    looks = [run(project, *command, check=False) for command in LOOKS * 2]
    assert job.poll() is None
    let_go(project, "one", "other")
    while job.poll() is None:  # while the jobs record what they have made, too
        looks += [run(project, *command, check=False) for command in LOOKS[:2]]
    finish(job)
    failed = [f"{done.args}: {done.returncode}\n{done.stdout[-2000:]}" for done in looks if done.returncode]
    assert not failed and len(looks) >= 8, failed
    for name in ("one", "other", "last"):
        assert (project / f"{name}.txt").read_bytes() == (plain / f"{name}.txt").read_bytes()
    assert yaml.safe_load((project / "dvc.lock").read_text()) == yaml.safe_load((plain / "dvc.lock").read_text())
    for name in ("one", "other"):
        assert (project / f"{name}.started").read_text() == f"{name}\n", "it ran once"
    assert is_dvc_clean(project) and is_snakemake_done(project)
    assert not list((project / ".dvc/tmp/leases").glob("*.json"))


def test_a_stage_that_runs_on_one_machine_is_refused_on_another_before_anything_is_removed(project):
    job = ["python", "workflow/stage_job.py", "one"]
    first = start_on("n1", project, *job)
    wait_for(project / "one.started", first)
    for command in (job, ["dvc", "repro", "one"], ["snakemake", "--cores", "1", "one.txt"]):
        (project / "one.txt").write_text("half of what the first makes")
        second = start_on("n2", project, *command)
        printed = second.communicate(timeout=PATIENCE_S)[0]
        assert second.returncode != 0 and "Traceback" not in printed, printed
        lines = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "on n1, PID " in lines[0] and lines[0].endswith("; wait for it or stop it"), printed
        # DVC removes outputs before any of our code runs
        assert (project / "one.txt").exists() == (command[0] != "dvc"), printed
        assert first.poll() is None
    let_go(project, "one", "other")
    finish(first)
    assert (project / "one.txt").read_text() == "one of abcdef"
    run_snakemake(project)
    assert (project / "one.started").read_text() == "one\n"
    assert is_dvc_clean(project)


def test_the_lease_of_a_killed_job_of_another_machine_expires(project):
    job = start_on("n1", project, "python", "workflow/stage_job.py", "one")
    wait_for(project / "one.started", job)
    (lease,) = (project / ".dvc/tmp/leases").glob("*.json")
    job.kill()  # and with it all of its machine
    job.communicate()
    assert lease.exists()
    let_go(project, "one", "other")
    since = time.monotonic()
    printed = run(project, "snakemake", "--cores", "2").stdout
    assert "waiting up to 60 s to see whether one is still running (on n1, PID " in printed
    assert time.monotonic() - since > 30
    assert is_dvc_clean(project) and not lease.exists()


def test_dvc_lock_is_whole_whenever_it_is_read(project):
    """200 times written by the recording of jobs, and read all the while."""
    let_go(project, "one", "other")
    run_snakemake(project)
    writer = """
import sys
sys.path.insert(0, "workflow")
from dvc.repo import Repo, lock_repo
from depthmask.dvc_in_process import leave_no_entries, write_lock_file_atomically
with leave_no_entries(), write_lock_file_atomically(), Repo(".", _wait_for_lock=True) as repo:
    for number in range(200):
        with lock_repo(repo):
            stage = repo.stage.load_one("dvc.yaml", f"{['one', 'other', 'last'][number % 3]}")
            stage.dump(update_pipeline=False)
"""
    environ = make_environment(project) | {"PYTHONPATH": "workflow"}
    before = yaml.safe_load((project / "dvc.lock").read_text())
    inodes, reads, faults = set(), 0, []
    with subprocess.Popen([sys.executable, "-c", writer], cwd=project, env=environ) as process:
        while process.poll() is None or reads < 200:
            try:
                text = (project / "dvc.lock").read_text()
                assert yaml.safe_load(text) == before
                inodes.add((project / "dvc.lock").stat().st_ino)
            except Exception as error:
                faults.append(repr(error))
            reads += 1
        assert process.wait() == 0
    assert not faults and reads >= 200 and len(inodes) > 1, faults[:3]


def test_jobs_parse_while_others_record(project):
    """Job processes read what the main process wrote; dvc.lock may be as it likes meanwhile, and without it they wait for DVC."""
    let_go(project, "one", "other")
    run_snakemake(project)
    whole = (project / "dvc.lock").read_text()
    done = threading.Event()

    def write_in_place() -> None:
        """As a DVC of the user's does, for as long as it takes to see half of it."""
        while not done.is_set():
            (project / "dvc.lock").write_text(whole[: len(whole) // 2])
            time.sleep(0.02)
        (project / "dvc.lock").write_text(whole)

    parse = """
import json, os, sys
sys.path.insert(0, "workflow")
import run_folder, stage_graph
if sys.argv[1] == "main":
    run_folder.write_graph(stage_graph.load_stages(with_status=True))
    print(os.environ[run_folder.GRAPH])
else:
    stages = stage_graph.read_stages()
    assert stages == [stage_graph.Stage(**vars(stage)) for stage in stages]
    print(json.dumps([[stage.name, stage.job, stage.clean, stage.inputs] for stage in stages]))
    assert "dvc" not in sys.modules and "ruamel" not in sys.modules, "a job's parse needs none of DVC"
"""

    def parse_as(kind: str, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", parse, kind],
            cwd=project,
            env=make_environment(project) | environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    graph = parse_as("main").strip()
    writing = threading.Thread(target=write_in_place)
    writing.start()
    try:
        read = [parse_as("job", DEPTHMASK_GRAPH=graph) for _ in range(10)]
    finally:
        done.set()
        writing.join()
    assert len(set(read)) == 1
    stages = {name: (job, clean) for name, job, clean, _ in json.loads(read[0])}
    assert set(stages) == {"one", "other", "last"} and all(clean for _, clean in stages.values())
    assert stages["one"][0].endswith("/workflow/stage_job.py one")
