"""The files that running a module can read: the module, all that it imports, and the data files that these name.

Imports are read from the source, nothing is executed: those inside functions count, those under TYPE_CHECKING do not. Where a
module is imported by its name (`import_module(f"PACKAGE.{name}")`), all modules of the package count. A package on the way
brings its __init__.py. A file beside a module that is not Python (a page's template) counts where a text in the module names it
or its folder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from depthmask.base.errors import UserError

BY_NAME = re.compile(rb'\bimport_module\(f"([\w.]+)\.\{')
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")  # of a statement: where other statements are


def find_closure(source: Path, module: str) -> list[Path]:
    """Every file below `source`, the folder of all packages, that importing and running `module` can read; sorted.

    Raises:
        UserError: there is no such module.
    """
    start = find_module(source, module)
    if start is None:
        raise UserError(f"{source / module.replace('.', '/')}.py: no such file, but the stage runs it; restore it")
    found: set[Path] = set()
    names: set[str] = set()
    waiting = {start, *list_package_files(source, module)}
    while waiting:
        path = waiting.pop()
        tree = parse_file(path)
        found |= {path, *_list_data_files(path, tree)}
        new = set(list_imports(source, path, tree)) - names
        names |= new
        for name in new:
            imported = find_module(source, name)
            if imported is not None:
                waiting |= {imported, *list_package_files(source, name)} - found
    return sorted(found)


def parse_file(path: Path) -> ast.Module:
    """The syntax tree of a file of Python."""
    return ast.parse(path.read_bytes(), str(path))


def list_imports(source: Path, path: Path, tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports; `from a import b` gives a and a.b, since b may be a module."""
    yield from list_imports_by_name(source, path)
    package = path.relative_to(source).with_suffix("").parts[:-1]
    for node in _walk_statements(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def list_imports_by_name(source: Path, path: Path) -> Iterator[str]:
    """Of these, the modules of packages from which a file imports one by its name."""
    for name in BY_NAME.findall(path.read_bytes()):
        parts = name.decode().split(".")
        yield from (".".join([*parts, file.stem]) for file in source.joinpath(*parts).glob("*.py"))


def _walk_statements(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every statement that can be executed, however deep in functions and branches."""
    for node in statements:
        yield node
        for block in BLOCKS:
            is_for_types = block == "body" and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if not is_for_types:
                inner = getattr(node, block, None)
                if isinstance(inner, list):
                    yield from _walk_statements(inner)


def find_module(source: Path, name: str) -> Path | None:
    """The file of a module or package below `source`; None for everything else."""
    place = source.joinpath(*name.split("."))
    for path in (place.with_suffix(".py") if place.name else place, place / "__init__.py"):
        if path.is_file():
            return path
    return None


def list_package_files(source: Path, name: str) -> list[Path]:
    """The __init__.py of every package that importing `name` imports on the way."""
    parts = name.split(".")
    packages = [source.joinpath(*parts[:count]) / "__init__.py" for count in range(1, len(parts))]
    return [path for path in packages if path.is_file()]


def _list_data_files(module: Path, tree: ast.Module) -> Iterator[Path]:
    """What is not Python in a module's folder, or in folders of it that are no packages, and is named in the module."""
    beside = [path for path in module.parent.iterdir() if path.suffix != ".py" and path.name != "__pycache__"]
    beside = [path for path in beside if not (path / "__init__.py").exists()]
    if not beside:
        return
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    named = "\n".join(text for text in texts if isinstance(text, str))
    for path in beside:
        if path.name in named:
            files = path.rglob("*") if path.is_dir() else [path]
            yield from (file for file in files if file.is_file() and file.suffix not in (".py", ".pyc"))
