"""The commit of the working folder, or why git does not name one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS_MAX = 20
COMMIT_CHARACTERS = 10  # of a hash, as shown
# git's words, and those of libgit2, which DVC uses
FOREIGN = re.compile(r"dubious ownership in repository at '(.+?)'|repository path '(.+?)' is not owned by")


@dataclass(frozen=True)
class Commit:
    """name: full hash. is_dirty: whether the given paths differ from it. Both None if unknown, for the given `reason`.

    is_foreign: unknown because the repository belongs to another user.
    """

    name: str | None = None
    is_dirty: bool | None = None
    reason: str = ""
    is_foreign: bool = False


def read_commit(paths: Sequence[str | Path]) -> Commit:
    """The commit of the working folder, and whether `paths` differ from it."""
    try:
        return Commit(_run_git("rev-parse", "HEAD"), bool(_run_git("status", "--porcelain", "--", *map(str, paths))))
    except FileNotFoundError:
        return Commit(reason="git is not installed")
    except subprocess.TimeoutExpired:
        return Commit(reason=f"git did not answer within {SECONDS_MAX} s")
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        foreign = explain_ownership(said)
        return Commit(reason=foreign or _explain(said) or str(error), is_foreign=foreign is not None)


def explain_ownership(text: str) -> str | None:
    """What to do about git's or libgit2's error that a repository belongs to another user; None if it is another error."""
    found = FOREIGN.search(text)
    if found is None:
        return None
    folder = (found[1] or found[2]).rstrip("/").removesuffix("/.git")
    return (
        f"{folder} belongs to another user, so git does not read it; if you trust it, run git config --global --add"
        f" safe.directory {shlex.quote(folder)}"
    )


def _explain(said: str) -> str:
    if "not a git repository" in said:
        return "the project is not a git repository"
    if "ambiguous argument 'HEAD'" in said:
        return "the project has no commit yet"
    return said.partition("\n")[0].removeprefix("fatal: ")


def _run_git(*args: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}  # its messages in English
    done = subprocess.run(["git", *args], capture_output=True, check=True, timeout=SECONDS_MAX, env=environment)
    return done.stdout.decode(errors="replace").strip()
