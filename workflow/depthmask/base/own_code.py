"""Commands in a clone run that clone's code, also when the environment in use was set up by another clone.

An environment finds depthmask where it was installed from. DVC and Snakemake put this folder's `workflow` before that; a copied
clone's `depthmask check`, or a stage started by hand, would run the code of the first clone without a word.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from depthmask.base.entry_points import print_error
from depthmask.base.errors import UserError
from depthmask.base.streams import prepare_streams

SOURCE = Path(__file__).resolve().parents[2]


def run_own_code() -> None:
    """If the working folder is in another clone than this code, start this command again with that clone's code.

    Only commands and stages of ours are started again. A PYTHONPATH that names this code is the user's choice.

    Raises:
        SystemExit: the other clone's code is not run unasked (see `find_own_code`); one line was printed.
    """
    prepare_streams()
    try:
        own = find_own_code(sys.orig_argv, Path.cwd())
    except UserError as error:
        raise SystemExit(print_error(error)) from error
    if own is None:
        return
    from depthmask.base.terminal import note  # late: most runs have nothing to say

    note(f"running the code of {own.parent}, not that of {SOURCE.parent}, which this environment was set up for")
    sys.stderr.flush()
    path = os.pathsep.join([str(own), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONPATH": path})


def find_own_code(command: Sequence[str], folder: Path) -> Path | None:
    """The `workflow` of the clone that `folder` is in; None if it is this code, the user chose this code, or there is no clone.

    Raises:
        UserError: the clone belongs to another user, or this code was installed from no clone, whose user need not expect that
            code of the working folder is run.
    """
    project = find_project(folder) if _is_ours(command) else None
    if project is None or (project / "workflow").resolve() == SOURCE:
        return None
    chosen = [Path(folder, entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if SOURCE in chosen:
        return None
    own = project / "workflow"
    is_without_effect = own.resolve() in chosen  # as with `python -I`: starting again would not end
    if is_without_effect or not (SOURCE / "stages").is_dir() or (own / "depthmask/cli.py").stat().st_uid != os.geteuid():
        raise UserError(
            f"{project} has code of its own, but this command is that of {SOURCE}; run make there, and use its .venv, or put"
            f" PYTHONPATH={own} before the command"
        )
    return own


def find_project(folder: Path) -> Path | None:
    """The clone that a folder is in; None if it is in none."""
    for place in (folder, *folder.parents):
        workflow = place / "workflow"
        # the leaderboard has a link to that of its clone
        if (place / "dvc.yaml").is_file() and (workflow / "depthmask/cli.py").is_file() and not workflow.is_symlink():
            return place
    return None


def _is_ours(command: Sequence[str]) -> bool:
    """Whether a process was started as `depthmask`, `python -m depthmask` or `python -m stages.STAGE`."""
    words = list(command[1:])
    while words and words[0].startswith("-") and words[0] != "-m":  # Python's own options, two of which have a value
        del words[: 2 if words[0] in ("-X", "-W") else 1]
    if words and Path(words[0]).name == "depthmask":
        return True
    module = words[1] if words[:1] == ["-m"] and len(words) > 1 else ""
    return module == "depthmask" or module.startswith("stages.")
