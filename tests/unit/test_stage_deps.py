"""deps in dvc.yaml are what each stage's script imports; and how that is found out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from depthmask.base.errors import UserError
from tools.stage_deps import compare_deps, find_imported_files, main, write_deps

ROOT = Path(__file__).resolve().parents[2]

DVC_YAML = """\
# the first comment
stages:
  # about train
  train:
    cmd: PYTHONPATH=workflow python -m stages.train --out out.txt
    deps:
      - in.txt
      - workflow/old.py
      # about the data
      - data
    outs: [out.txt]

  each:
    foreach: [a, b]
    do:
      cmd: PYTHONPATH=workflow python -m stages.train --out ${item}.txt
      deps:
      - workflow/stages/train.py
      outs: ["${item}.txt"]
  plain:
    cmd: cp in.txt copy.txt
    deps:
      - workflow/old.py
    outs: [copy.txt]
"""


@pytest.fixture
def project(tmp_path) -> Path:
    files = {
        "dvc.yaml": DVC_YAML,
        "workflow/old.py": "",
        "workflow/stages/__init__.py": "",
        "workflow/stages/train.py": (
            "import json\nimport numpy.linalg\nfrom lib import one\n"
            "if TYPE_CHECKING:\n    import lib.typed\n"
            "def f():\n    import lib.deep.late\n"
        ),
        "workflow/lib/__init__.py": "",
        "workflow/lib/one.py": "from .two import name\nfrom . import three",
        "workflow/lib/two.py": "name = 1",
        "workflow/lib/three.py": '"""It leaves unnamed.txt alone."""\nFOLDER = "pages"',
        "workflow/lib/typed.py": "",
        "workflow/lib/unused.py": "",
        "workflow/lib/unnamed.txt": "",
        "workflow/lib/pages/page.html": "",
        "workflow/lib/deep/__init__.py": "",
        "workflow/lib/deep/late.py": "import lib.one",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


IMPORTED = [
    "workflow/lib/__init__.py",
    "workflow/lib/deep/__init__.py",
    "workflow/lib/deep/late.py",
    "workflow/lib/one.py",
    "workflow/lib/pages/page.html",
    "workflow/lib/three.py",
    "workflow/lib/two.py",
    "workflow/stages/__init__.py",
    "workflow/stages/train.py",
]
# of lib/ not all is imported, and pages/ holds one file
DEPS = [path for path in IMPORTED if "/deep/" not in path and "/stages/" not in path]
DEPS = sorted([*DEPS, "workflow/lib/deep", "workflow/stages"])


def test_deps_of_every_stage_are_what_its_script_imports():
    differences = compare_deps(ROOT)
    assert not differences, "\n" + "\n".join(map(str, differences))


def test_imports_are_followed(project):
    assert find_imported_files(project, "stages.train") == IMPORTED


def test_missing_script_is_reported(project):
    with pytest.raises(UserError, match=r"workflow/stages/other\.py: no such file"):
        find_imported_files(project, "stages.other")


def test_difference_names_stage_and_lines(project):
    first = compare_deps(project)[0]
    assert first.stage == "train"
    assert first.needless == ("workflow/old.py",)
    assert "  add     - workflow/lib/one.py" in str(first).splitlines()
    assert "  remove  - workflow/old.py" in str(first).splitlines()


def test_written_deps_fit_and_nothing_else_is_changed(project, monkeypatch, capsys):
    before = yaml.safe_load(DVC_YAML)
    write_deps(project)
    assert compare_deps(project) == []
    text = (project / "dvc.yaml").read_text()
    after = yaml.safe_load(text)
    assert after["stages"]["train"]["deps"] == ["in.txt", "data", *DEPS]
    assert after["stages"]["each"]["do"]["deps"] == DEPS
    assert after["stages"]["plain"] == before["stages"]["plain"], "it runs no script of ours"
    for comment in ("# the first comment", "  # about train", "      # about the data"):
        assert comment in text.splitlines()

    def without_deps(stages):
        return [{key: value for key, value in stage.get("do", stage).items() if key != "deps"} for stage in stages.values()]

    assert without_deps(after["stages"]) == without_deps(before["stages"])
    monkeypatch.chdir(project)
    assert main(["--write"]) == 0
    assert (project / "dvc.yaml").read_text() == text, "the second time there is nothing to write"
    assert capsys.readouterr().out == ""


def test_folder_gives_way_to_its_files_where_one_is_not_imported(project):
    write_deps(project)
    stray = project / "workflow/lib/deep/new.py"
    stray.write_text("")
    difference = compare_deps(project)[0]
    assert difference.needless == ("workflow/lib/deep",)
    assert difference.missing == ("workflow/lib/deep/__init__.py", "workflow/lib/deep/late.py")
    assert difference.strays == ("workflow/lib/deep/new.py",)
    assert "  not imported: workflow/lib/deep/new.py" in str(difference).splitlines()
    write_deps(project)
    deps = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    wanted = {"in.txt", "data", *DEPS, *difference.missing} - {"workflow/lib/deep"}
    assert set(deps) == wanted
    (project / "workflow/lib/deep/late.py").write_text("import lib.deep.new")
    assert compare_deps(project)[0].missing == ("workflow/lib/deep",), "now the folder says the same"


def test_folder_stands_for_those_below_it(project):
    for name, text in {"__init__.py": "import lib.deep.more.last", "last.py": ""}.items():
        (project / "workflow/lib/deep/more").mkdir(exist_ok=True)
        (project / "workflow/lib/deep/more" / name).write_text(text)
    (project / "workflow/lib/deep/late.py").write_text("import lib.deep.more")
    write_deps(project)
    deps = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    assert [path for path in deps if "deep" in path] == ["workflow/lib/deep"]


def test_what_dvc_does_not_see_is_no_part_of_a_folder(project):
    (project / ".dvcignore").write_text("__pycache__/\n*.txt\n")
    write_deps(project)
    (project / "workflow/lib/deep/__pycache__").mkdir()
    (project / "workflow/lib/deep/__pycache__/late.cpython-311.pyc").write_text("")
    (project / "workflow/lib/deep/note.txt").write_text("")
    assert compare_deps(project) == []


def test_file_that_is_imported_but_kept_from_dvc_is_reported(project):
    (project / ".dvcignore").write_text("*.html\n")
    with pytest.raises(UserError, match=r"workflow/lib/pages/page\.html: a stage reads it, but \.dvcignore keeps it"):
        compare_deps(project)


def test_graph_below_the_root_sees_the_library_through_a_link(project):
    """DVC reads no .dvcignore above or beside the folder of the graph."""
    (project / "below").mkdir()
    (project / "below/dvc.yaml").write_text(DVC_YAML)
    (project / "below/workflow").symlink_to("../workflow")
    (project / "workflow/.dvcignore").write_text("__pycache__/\n")
    (project / "workflow/lib/deep/__pycache__").mkdir()
    (project / "workflow/lib/deep/__pycache__/late.cpython-311.pyc").write_text("")
    write_deps(project, "below")
    deps = yaml.safe_load((project / "below/dvc.yaml").read_text())["stages"]["each"]["do"]["deps"]
    assert deps == DEPS
    assert compare_deps(project, "below") == []


def test_dvc_hashes_a_folder_behind_the_link_without_what_it_ignores(tmp_path):
    from dvc.repo import Repo

    (tmp_path / "workflow/depthmask/base/__pycache__").mkdir(parents=True)
    shutil.copy(ROOT / "workflow/.dvcignore", tmp_path / "workflow")
    module = tmp_path / "workflow/depthmask/base/errors.py"
    module.write_text("")
    board = tmp_path / "leaderboard"
    board.mkdir()
    shutil.copy(ROOT / "leaderboard/.dvcignore", board)
    shutil.copy(ROOT / "leaderboard/workflow", board / "workflow", follow_symlinks=False)
    (board / "dvc.yaml").write_text("stages: {one: {cmd: echo, deps: [workflow/depthmask/base]}}\n")
    Repo.init(str(board), no_scm=True).close()

    def is_stale() -> bool:
        with Repo(str(board)) as repo:
            return bool(repo.status())

    with Repo(str(board)) as repo:
        repo.commit(force=True)
    assert not is_stale()
    (module.parent / "__pycache__/errors.cpython-311.pyc").write_text("")
    (module.parent / "errors.py.orig").write_text("")
    assert not is_stale()
    module.write_text("changed = True")
    assert is_stale()


def test_a_module_that_is_imported_by_its_name_brings_its_whole_package(project):
    train = project / "workflow/stages/train.py"
    train.write_text('import importlib\ndef f(name):\n    return importlib.import_module(f"lib.deep.{name}")\n')
    found = find_imported_files(project, "stages.train")
    assert found == IMPORTED


@pytest.mark.parametrize("package", ["models", "losses", "metrics"])
def test_the_trainings_depend_on_every_network_loss_and_score(package):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "workflow/depthmask" / package).glob("*.py")}
    assert len(files) > 3 and files <= set(find_imported_files(ROOT, "stages.pretrain"))
