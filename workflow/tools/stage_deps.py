"""The library files that each stage's script really imports, compared with the deps of every dvc.yaml or written there.

A file that is missing among a stage's deps could change without the stage being run again; one too many makes it run for
nothing. What counts as imported is said in depthmask/execution/import_closure.py, which checkpoints are keyed by, too.

A folder stands for its files where the stage imports every one that DVC sees in it: DVC does the same work for a dep, be it a
file or a folder of twenty. So a folder makes a stage stale for just the files that would have been named, and for what is put
into it; that must be imported too, or the folder gives way to its files. What DVC does not see is said in workflow/.dvcignore.
DVC reads no .dvcignore above or beside the folder that it runs in: a graph below the project's root has the library in that
folder, too, as a link.

    PYTHONPATH=workflow python -m tools.stage_deps [--write]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_text
from depthmask.execution.import_closure import find_closure

SOURCE = "workflow"
GRAPHS = ("", "leaderboard", "cross_validation", "sweep")  # folders of the project that have a dvc.yaml
LIBRARY_DEP = re.compile(rf"{SOURCE}/(?!recipes\b)")  # recipes are data, and named by hand
STAGE_MODULE = re.compile(r"python -m (stages(?:\.\w+)+)")


@dataclass(frozen=True)
class Difference:
    """What one stage's deps lack, and what they name though its script does not import it, or not all of it.

    strays: the files that are not imported of the folders among `needless`.
    """

    stage: str
    missing: tuple[str, ...]
    needless: tuple[str, ...]
    strays: tuple[str, ...] = ()
    file: str = "dvc.yaml"

    def __str__(self) -> str:
        lines = [f"{self.file}: stages.{self.stage}.deps, repaired by `make deps`:"]
        lines += [f"  add     - {path}" for path in self.missing]
        lines += [f"  remove  - {path}" for path in self.needless]
        lines += [f"  not imported: {path}" for path in self.strays]
        return "\n".join(lines)


def find_imported_files(root: Path, module: str) -> list[str]:
    """Every file under workflow/ that importing and running `module` can read, relative to `root`, sorted; see `find_closure`."""
    return [path.relative_to(root).as_posix() for path in find_closure(root / SOURCE, module)]


def compare_deps(root: Path, graph: str = "") -> list[Difference]:
    """The stages whose deps under workflow/ are not what their scripts import; graph: the folder of their dvc.yaml.

    Raises:
        UserError: a script is missing, or .dvcignore hides a file that is imported.
    """
    differences, contents = [], _list_folders(root / graph)
    for stage, (deps, imported, wanted) in _read_stages(root, graph, contents).items():
        if set(deps) != set(wanted):
            missing, needless = sorted(set(wanted) - set(deps)), sorted(set(deps) - set(wanted))
            strays = sorted({file for path in needless for file in contents.get(path, set()) - set(imported)})
            file = str(Path(graph, "dvc.yaml"))
            differences.append(Difference(stage, tuple(missing), tuple(needless), tuple(strays), file))
    return differences


def write_deps(root: Path, graph: str = "") -> None:
    """Put what is imported in place of each stage's deps under workflow/; every other line of dvc.yaml stays as it is."""
    wanted = {stage: paths for stage, (_, _, paths) in _read_stages(root, graph, _list_folders(root / graph)).items()}
    path = root / graph / "dvc.yaml"
    write_text(path, "\n".join(_replace_deps(path.read_text(encoding="utf-8").splitlines(), wanted)) + "\n")


def _list_folders(root: Path) -> dict[str, set[str]]:
    """{folder: all files that DVC sees in it and in those below it}, for each folder below workflow/; relative to `root`.

    root: the folder of a graph, whose workflow/ may be a link.
    """
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    top, contents = root.resolve(), defaultdict(set)
    for found in DvcIgnoreFilter(localfs, str(top)).find(localfs, str(top / SOURCE)):
        file = PurePosixPath(Path(found).relative_to(top).as_posix())
        for folder in file.parents[:-2]:  # without workflow/ itself and the root
            contents[str(folder)].add(str(file))
    return dict(contents)


def _fold(files: list[str], contents: Mapping[str, set[str]]) -> list[str]:
    """The largest folders that hold nothing but some of `files`, two or more, in place of these; sorted.

    Raises:
        UserError: DVC does not see one of the files, so that a folder would not stand for it.
    """
    seen, folded = set().union(*contents.values()), set()
    for file in files:
        if file not in seen:
            raise UserError(f"{file}: a stage reads it, but .dvcignore keeps it from DVC; let it in there")
        folders = [str(folder) for folder in reversed(PurePosixPath(file).parents)]
        folded.add(next((name for name in folders if 1 < len(contents.get(name, ())) and contents[name] <= set(files)), file))
    return sorted(folded)


def _read_stages(root: Path, graph: str, contents: Mapping[str, set[str]]) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """{stage: (its deps under workflow/, the files that its script imports, the deps that stand for them)}.

    Stages that run no script of ours are left out.
    """
    stages = {}
    for name, stage in yaml.safe_load((root / graph / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        stage = stage.get("do", stage)  # foreach
        command = re.search(STAGE_MODULE, str(stage["cmd"]))
        if command:
            deps = [path for path in stage.get("deps", []) if LIBRARY_DEP.match(path)]
            imported = find_imported_files(root, command[1])
            stages[name] = (deps, imported, _fold(imported, contents))
    return stages


def _replace_deps(lines: list[str], wanted: dict[str, list[str]]) -> Iterator[str]:
    """Walk through dvc.yaml by its indentation: `  STAGE:`, in it `deps:`, in it the items."""
    stage, deps_indent, waiting = None, None, []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        in_list = deps_indent is not None and (indent > deps_indent or line.lstrip().startswith("- ")) and line.strip()
        if deps_indent is not None and not in_list:
            yield from waiting
            deps_indent, waiting = None, []
        if re.match(r"  \S+:\s*(#.*)?$", line):
            stage = line.strip().split(":")[0]
        if in_list and LIBRARY_DEP.match(line.strip().removeprefix("- ")):
            continue
        yield line
        if line.strip() == "deps:" and stage in wanted:
            deps_indent, waiting = indent, [f"{' ' * (indent + 2)}- {path}" for path in wanted[stage]]
    yield from waiting


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the deps of every dvc.yaml with what each stage's script imports.")
    parser.add_argument("--write", action="store_true", help="repair dvc.yaml")
    args = parser.parse_args(argv)
    root = Path()
    differing = {graph: compare_deps(root, graph) for graph in GRAPHS if (root / graph / "dvc.yaml").is_file()}
    for graph, differences in differing.items():
        for difference in differences:
            print(difference)
        if args.write and differences:
            write_deps(root, graph)
            print(f"{Path(graph, 'dvc.yaml')}: written")
    return 1 if any(differing.values()) and not args.write else 0


if __name__ == "__main__":
    sys.exit(main())
