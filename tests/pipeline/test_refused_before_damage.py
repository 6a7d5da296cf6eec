"""What would cost a user files or results is refused by both tools, in a line, before anything is removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from running_tools import TOOLS, run
from tiny_project import change_params, copy_clone

from depthmask.base.files import hash_file

pytestmark = pytest.mark.slow

COMMANDS = {"dvc": ["dvc", "repro"], "snakemake": ["snakemake", "--cores", "2"]}
OWN = "own.jpg"  # a photo of the user's, in a folder that a stage writes


def put_own_photo(root: Path, folder: str) -> None:
    shutil.copy(next((root / "data/demo/bg").glob("*.jpg")), root / folder / OWN)


def set_download(root: Path, path: str) -> None:
    change_params(root, {"download": {"path": path}})


def set_photos(root: Path, path: str) -> None:
    change_params(root, {"evaluate": {"photos": path}})


def _put_photos_into_raw(root: Path) -> None:
    put_own_photo(root, "data/raw/bg")
    set_download(root, "data/raw")


def _put_photos_into_reports(root: Path) -> None:
    put_own_photo(root, "reports/photos")
    set_photos(root, "reports/photos")


def _lead_a_link_to_raw(root: Path) -> None:
    (root / "mine").symlink_to("data/raw")
    set_download(root, "mine")


def _write_an_octal_seed(root: Path) -> None:
    path = root / "params.yaml"
    text = path.read_text()
    assert "\nseed: 0\n" in f"\n{text}"
    path.write_text(f"\n{text}".replace("\nseed: 0\n", "\nseed: 010\n"))


def _remove_photos(root: Path) -> None:
    shutil.rmtree(root / "data/photos")


BOTH = "Same item"  # DVC's own line, where one path is a dependency and an output
# what is done; what the line says: ours, or DVC's where it is the first to find the mistake
FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (lambda root: set_download(root, "nope"), "download.path: nope does not exist|No such file .*/nope"),
    (lambda root: set_photos(root, "nophotos"), "evaluate.photos: nophotos does not exist|No such file .*/nophotos"),
    (lambda root: set_download(root, "profiles"), "download.path: profiles/bg"),  # not of the layout
    (lambda root: set_download(root, "workflow"), r"\.dvcignore file should not be in collected dir path: '.*/workflow'"),
    (_put_photos_into_raw, f"download.path: data/raw, which|{BOTH}"),
    (_put_photos_into_reports, f"evaluate.photos: reports/photos, which|{BOTH}"),
    (_lead_a_link_to_raw, "download.path: mine is data/raw"),
    (_write_an_octal_seed, "params.yaml: line 2: seed: 010"),
    (lambda root: put_own_photo(root, "data/ensemble"), f"evaluate.ensemble: data/ensemble/{OWN}: is not a model file"),
    (_remove_photos, "evaluate.photos: data/photos does not exist|No such file .*/data/photos"),
]


def list_contents(root: Path) -> dict[str, str]:
    """{name: sha256} of all that was made, and of what lies among it; check.txt always holds the same line."""
    files = [path for folder in ("data", "reports") for path in (root / folder).rglob("*") if path.is_file()]
    files = [path for path in files if path.name != "check.txt"]
    return {str(path.relative_to(root)): hash_file(path) for path in files}


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_removed(made_by_dvc, tmp_path, tool):
    root = copy_clone(made_by_dvc, tmp_path / "clone")
    for number, (spoil, named) in enumerate(FAULTS):
        spoil(root)
        before = list_contents(root)
        done = run(root, *COMMANDS[tool], check=False)
        assert done.returncode, f"{number}: {named}"
        lines = [line for line in done.stdout.splitlines() if line.lower().startswith("error")]
        assert any(re.search(named, line) for line in lines), f"{number}: {named}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"{number}: {done.stdout}"
        assert list_contents(root) == before, f"{number}: {named}"
        run(root, "git", "checkout", "--quiet", ".")
        for own in root.rglob(OWN):
            own.unlink()
    assert run(root, *COMMANDS[tool]).returncode == 0
