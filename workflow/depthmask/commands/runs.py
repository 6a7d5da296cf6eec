"""`depthmask runs`: brings the runs in DVC's run cache, with all that they made, to a remote or from it.

`dvc push --run-cache` and `dvc pull --run-cache` bring the records of runs, but of their outputs only those that are current.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.terminal import count
from depthmask.dvc_failures import report_dvc_errors


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask runs",
        description="Push the runs of all stages, with their outputs, to a DVC remote, or pull them; both tools restore them.",
    )
    parser.add_argument("direction", choices=["push", "pull"])
    parser.add_argument("--remote", help="name of the DVC remote (the default one)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    from dvc.config import NoRemoteError, RemoteNotFoundError
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with report_dvc_errors(leave=(NoRemoteError, RemoteNotFoundError, NotDvcRepoError)), Repo(".") as repo:
            num_runs, num_files, num_failed = transfer(repo, args.direction, args.remote)
    except (NoRemoteError, RemoteNotFoundError) as error:
        raise UserError(
            f"no such DVC remote: {args.remote or 'the default one'}; dvc remote list shows those there are"
        ) from error
    except NotDvcRepoError as error:
        raise UserError("the working folder is not a DVC project; run this in the project's folder") from error
    if num_failed:
        raise UserError(f"{count(num_failed, 'file')} could not be transferred; run the same command again")
    done = "pushed" if args.direction == "push" else "pulled"
    print(f"{done} {count(num_runs, 'run')}, {count(num_files, 'new file')}")
    return 0


def transfer(repo: Any, direction: str, remote: str | None) -> tuple[int, int, int]:
    """Push or pull the runs of a `dvc.repo.Repo`; returns the numbers of runs, of files transferred and of files that failed."""
    move = repo.stage_cache.push if direction == "push" else repo.stage_cache.pull
    repo.cloud.get_remote(remote)  # raises where there is none; the run cache alone would say nothing
    used = move(remote)
    files: Mapping[Any, set] = repo.stage_cache.get_used_objs(used)
    send = repo.cloud.push if direction == "push" else repo.cloud.pull
    results = [send(objects, remote=remote) for objects in files.values() if objects]
    return len(used), sum(len(result.transferred) for result in results), sum(len(result.failed) for result in results)
