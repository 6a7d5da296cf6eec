"""The library files that each stage's script really imports, compared with the deps of every dvc.yaml or written there.

A file that is missing among a stage's deps could change without the stage being run again; one too many makes it run for
nothing. Imports are read from the source, nothing is executed: those inside functions count, those under TYPE_CHECKING do
not; where a module is imported by its name (`import_module(f"PACKAGE.{name}")`), all modules of the package count. A package on
the way brings its __init__.py. A file beside a module that is not Python (a page's template) counts where a text in the module
names it or its folder.

A folder stands for its files where the stage imports every one that DVC sees in it: DVC does the same work for a dep, be it a
file or a folder of twenty. So a folder makes a stage stale for just the files that would have been named, and for what is put
into it; that must be imported too, or the folder gives way to its files. What DVC does not see is said in .dvcignore, which
does not reach above its own folder: a graph below the project's root names files alone.

    PYTHONPATH=workflow python -m tools.stage_deps [--write]
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from depthmask.base.errors import UserError, print_errors_as_lines
from depthmask.base.files import write_text

SOURCE = "workflow"
GRAPHS = ("", "leaderboard")  # folders of the project that have a dvc.yaml
# a dep that is the library's, seen from any of those folders; recipes are data, and named by hand
LIBRARY_DEP = re.compile(rf"(?:\.\./)*{SOURCE}/(?!recipes\b)")
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
    """Every file under workflow/ that importing and running `module` can read, relative to `root`, sorted.

    Raises:
        UserError: there is no such module.
    """
    source = root / SOURCE
    start = _find_module(source, module)
    if start is None:
        raise UserError(f"{SOURCE}/{module.replace('.', '/')}.py: no such file, but dvc.yaml runs it")
    seen: set[Path] = set()
    waiting = [*_list_package_files(source, module), start]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _list_imports(source, path):
            found = _find_module(source, name)
            if found is not None:
                waiting += [*_list_package_files(source, name), found]
    data_files = [file for path in seen for file in _list_data_files(path)]
    return sorted(path.relative_to(root).as_posix() for path in {*seen, *data_files})


def compare_deps(root: Path, graph: str = "") -> list[Difference]:
    """The stages whose deps under workflow/ are not what their scripts import; graph: the folder of their dvc.yaml.

    Raises:
        UserError: a script is missing, or .dvcignore hides a file that is imported.
    """
    differences, contents = [], _list_folders(root)
    for stage, (deps, imported, wanted) in _read_stages(root, graph, contents).items():
        if set(deps) != set(wanted):
            missing, needless = sorted(set(wanted) - set(deps)), sorted(set(deps) - set(wanted))
            strays = sorted({file for path in needless for file in contents.get(path, set()) - set(imported)})
            file = str(Path(graph, "dvc.yaml"))
            differences.append(Difference(stage, tuple(missing), tuple(needless), tuple(strays), file))
    return differences


def write_deps(root: Path, graph: str = "") -> None:
    """Put what is imported in place of each stage's deps under workflow/; every other line of dvc.yaml stays as it is."""
    wanted = {stage: paths for stage, (_, _, paths) in _read_stages(root, graph, _list_folders(root)).items()}
    path = root / graph / "dvc.yaml"
    write_text(path, "\n".join(_replace_deps(path.read_text(encoding="utf-8").splitlines(), wanted)) + "\n")


def _list_folders(root: Path) -> dict[str, set[str]]:
    """{folder: all files that DVC sees in it and in those below it}, for each folder below workflow/; relative to `root`."""
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

    Stages that run no script of ours are left out. deps are paths as seen from the graph's folder, imported files from the root.
    """
    stages, up = {}, "../" * len(Path(graph).parts)
    for name, stage in yaml.safe_load((root / graph / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        stage = stage.get("do", stage)  # foreach
        command = re.search(STAGE_MODULE, str(stage["cmd"]))
        if command:
            deps = [path for path in stage.get("deps", []) if LIBRARY_DEP.match(path)]
            imported = find_imported_files(root, command[1])
            wanted = [f"{up}{path}" for path in imported] if up else _fold(imported, contents)
            stages[name] = (deps, imported, wanted)
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


def _list_imports(source: Path, path: Path) -> Iterator[str]:
    """The dotted names that a file imports; `from a import b` gives a and a.b, since b may be a module."""
    package = path.relative_to(source).with_suffix("").parts[:-1]
    for node in _walk_executed(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            yield from _list_by_name(source, node.args[0])


def _list_by_name(source: Path, argument: ast.expr) -> Iterator[str]:
    """The modules of a package one of which is imported by its name, as in `import_module(f"depthmask.models.{name}")`."""
    start = argument.values[0] if isinstance(argument, ast.JoinedStr) else None
    if isinstance(start, ast.Constant) and str(start.value).endswith("."):
        package = str(start.value)
        yield from (f"{package}{path.stem}" for path in sorted(source.joinpath(*package.split(".")).glob("*.py")))


def _walk_executed(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _walk_executed(other)
        else:
            yield from _walk_executed(child)


def _find_module(source: Path, name: str) -> Path | None:
    """The file of a module or package under workflow/; None for everything else."""
    place = source.joinpath(*name.split("."))
    for path in (place.with_suffix(".py") if place.name else place, place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _list_package_files(source: Path, name: str) -> list[Path]:
    """The __init__.py of every package that importing `name` imports on the way."""
    parts = name.split(".")
    packages = [source.joinpath(*parts[:count]) / "__init__.py" for count in range(1, len(parts))]
    return [path for path in packages if path.is_file()]


def _list_data_files(module: Path) -> Iterator[Path]:
    """What is not Python in a module's folder, or in folders of it that are no packages, and is named in the module."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    named = "\n".join(text for text in texts if isinstance(text, str))
    for path in module.parent.iterdir():
        if path.name == "__pycache__" or (path / "__init__.py").exists() or path.name not in named:
            continue
        files = path.rglob("*") if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and file.suffix not in (".py", ".pyc"))


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
