"""The results that git keeps beside DVC's cache, and whether they belong to the code, the params and the data of this folder.

Git keeps dvc.lock and every output that dvc.yaml gives `cache: false`: scores, histories, run records.

    PYTHONPATH=workflow python -m tools.committed_results [--add]

--add: stage them for the next commit, as `make results` does.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError

LOCK = "dvc.lock"


def list_results() -> list[str]:
    """The files of the DVC project in the working folder that git keeps, dvc.lock first; relative to the project's root."""
    from dvc.repo import Repo  # late: it takes a second

    with contextlib.closing(Repo()) as repo:
        outs = [out for stage in repo.index.stages for out in stage.outs if not out.use_cache]
        return [LOCK, *sorted(Path(out.fs_path).relative_to(repo.root_dir).as_posix() for out in outs)]


def find_stale() -> list[str]:
    """What has changed since dvc.lock was written, as `STAGE: command, FILE`, a line for each stage; empty if nothing has.

    Compared are commands, params and files that no stage makes. Neither outputs nor DVC's cache are looked at, so that a fresh
    clone can be judged.

    Raises:
        UserError: the working folder is no DVC project with a readable graph and lock.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with contextlib.closing(Repo()) as repo:
            stages = repo.index.stages
            made = [out.fs_path for stage in stages for out in stage.outs]
            lines = []
            for stage in stages:
                inputs = [dep for dep in stage.deps if not _is_made(dep.fs_path, made)]
                changed = ["command"] if stage.cmd_changed else []
                for dep in inputs:
                    changed += _describe_status(dep.status())
                if changed:
                    lines.append(f"{stage.name}: {', '.join(sorted(changed))}")
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from error
    return sorted(lines)


def _is_made(path: str, made: list[str]) -> bool:
    return any(Path(path).is_relative_to(out) for out in made)


def _describe_status(status: dict) -> list[str]:
    """Names of what changed: a file or folder, or, of a params file, its keys."""
    names = []
    for path, state in status.items():
        names += [f"{path} {key}" for key in state] if isinstance(state, dict) else [path]
    return names


def add_results() -> None:
    """`git add` of every result; prints what differs from the last commit.

    Raises:
        UserError: a result is missing, or git refuses.
    """
    names = list_results()
    missing = [name for name in names if not Path(name).is_file()]
    if missing:
        raise UserError(f"{missing[0]}: is not there; run make results, which makes it")
    try:
        subprocess.run(["git", "add", "--", *names], check=True, capture_output=True)
        staged = subprocess.run(["git", "diff", "--cached", "--name-only", "--", *names], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"git add: {' '.join(error.stderr.decode(errors='replace').split())}") from error
    changed = staged.stdout.decode().split()
    print(f"staged {len(changed)} of {len(names)} results: {', '.join(changed)}" if changed else "results are as committed")


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--add", action="store_true", help="stage them for the next commit")
    args = parser.parse_args(argv)
    if args.add:
        add_results()
        return 0
    stale = find_stale()
    for line in stale:
        print(f"changed since dvc.lock was written: {line}")
    print("run make results, and commit what it stages" if stale else "dvc.lock belongs to this code, these params and this data")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
