"""DVC and Snakemake run in a project folder, and which stages they really ran there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
RUNNING = re.compile(r"^Running stage '(.+)':", re.MULTILINE)


def make_environment(root: Path) -> dict[str, str]:
    """This machine's environment less what would steer a run; DVC's notes about files stay out of the machine's shared folder."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("DEPTHMASK_", "PYTHONPATH", "DVC_", "GIT_"))
    }
    return environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(root.parent / f"{root.name}_site_cache"),
        "DVC_NO_ANALYTICS": "1",
        "DEPTHMASK_TENSORBOARD": "0",  # tested by itself; each training takes two seconds less
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }


def is_dead(pid: int) -> bool:
    """Whether a process has ended, reaped or not: whatever adopts an orphan may reap it late, or never."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run(root: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of this environment's commands in `root`, on the folder's own code; `stdout` holds stdout and stderr."""
    done = subprocess.run(
        command, cwd=root, env=make_environment(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-8000:]}")
    return done


def run_side_by_side(commands: dict[str, list[str]], folders: dict[str, Path], patience_s: float) -> None:
    """Run the command of each name in its folder, all at once; each must succeed. Their output goes beside the folder."""
    running = {}
    for name, command in commands.items():
        with (folders[name].parent / f"{name}.txt").open("w") as output:
            running[name] = subprocess.Popen(
                command, cwd=folders[name], env=make_environment(folders[name]), stdout=output, stderr=subprocess.STDOUT
            )
    for name, process in running.items():
        assert process.wait(patience_s) == 0, (folders[name].parent / f"{name}.txt").read_text()[-8000:]


def kill_when(is_due: Callable[[], bool], root: Path, command: list[str], patience_s: float, **environ: str) -> None:
    """Start a command in `root`, and kill it with all its children once `is_due()` is true; environ: further variables."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=root, env=make_environment(root) | environ, **quiet) as started:
        until = time.monotonic() + patience_s
        while not is_due():
            assert started.poll() is None and time.monotonic() < until, "it ended too early, or took too long"
            time.sleep(0.002)
        family = [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]
        for process in family:
            process.suspend()  # so that none can start another before its turn
        for process in family:
            process.kill()
        psutil.wait_procs(family[:-1], timeout=10)


def run_dvc(root: Path, *more: str) -> set[str]:
    """`dvc repro`; returns the names of the stages whose commands were run."""
    return set(RUNNING.findall(run(root, "dvc", "repro", *more).stdout))


def run_snakemake(root: Path, *more: str) -> set[str]:
    """`snakemake --cores 2`; returns the names of the stages whose commands were run, not those fetched from the cache."""
    for log in (root / "logs").glob("*.log"):
        log.unlink()
    run(root, "snakemake", "--cores", "2", *more)
    return {name for log in (root / "logs").glob("*.log") for name in RUNNING.findall(log.read_text())}


def is_dvc_clean(root: Path) -> bool:
    return "up to date" in run(root, "dvc", "status").stdout


def is_snakemake_done(root: Path) -> bool:
    return "Nothing to be done" in run(root, "snakemake", "--cores", "2").stdout


def require_nothing_to_do(root: Path) -> None:
    """Neither tool finds a stage to run, whichever made the outputs."""
    assert is_dvc_clean(root)
    assert run_dvc(root) == set()
    assert is_snakemake_done(root)


def find_different(one: Path, other: Path, names: Iterable[str]) -> list[str]:
    """The files whose bytes differ between two folders."""
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


TOOLS = {"dvc": run_dvc, "snakemake": run_snakemake}
