"""No package of depthmask imports another that imports it, by whatever way; and no module within a package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from depthmask.execution.import_closure import find_module, list_imports, list_imports_by_name, parse_file

WORKFLOW = Path(__file__).parents[2] / "workflow"
LIBRARY = "depthmask"


def read_imports(source: Path) -> dict[str, set[str]]:
    """{module: modules of the library that it imports}; imports in functions count, those for types alone do not."""
    graph = {}
    for path in sorted((source / LIBRARY).rglob("*.py")):
        found = {find_module(source, name) for name in list_imports(source, path, parse_file(path))} - {None, path}
        graph[name_module(source, path)] = {name_module(source, one) for one in found if one.is_relative_to(source / LIBRARY)}
    return graph


def name_module(source: Path, path: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def join_packages(source: Path, graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between the packages of the library; a module beside them is one of its own."""
    joined: dict[str, set[str]] = defaultdict(set)
    for module, imported in graph.items():
        for other in imported:
            one, two = (".".join(name.split(".")[:2]) for name in (module, other))
            joined[one] |= {two} - {one}
    return joined


def find_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle in their order; empty if there is none."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        circle = next(filter(None, (walk(other, [*way, module]) for other in sorted(graph.get(module, ())))), [])
        done.add(module)
        return circle

    return next(filter(None, (walk(module, []) for module in sorted(graph))), [])


def test_no_circle_between_packages():
    circle = find_circle(join_packages(WORKFLOW, read_imports(WORKFLOW)))
    assert not circle, " -> ".join(circle)


def test_no_circle_between_modules():
    graph = read_imports(WORKFLOW)
    for module in graph:  # a package that imports those of its modules that a registry names imports none of the others
        graph[module] -= set(list_imports_by_name(WORKFLOW, find_module(WORKFLOW, module)))
    circle = find_circle(graph)
    assert not circle, " -> ".join(circle)


def test_a_circle_is_found(tmp_path):
    files = {
        "__init__.py": "",
        "one/__init__.py": "",
        "one/a.py": "from depthmask.two import b",
        "two/__init__.py": "",
        "two/b.py": "def late():\n    import depthmask.three.c",
        "three/__init__.py": "",
        "three/c.py": "if TYPE_CHECKING:\n    from depthmask.one import a",
    }
    for name, text in files.items():
        path = tmp_path / LIBRARY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert find_circle(read_imports(tmp_path)) == find_circle(join_packages(tmp_path, read_imports(tmp_path))) == []
    (tmp_path / LIBRARY / "three/c.py").write_text("def later():\n    from depthmask.one.a import x")
    graph = read_imports(tmp_path)
    assert find_circle(graph) == ["depthmask.one.a", "depthmask.two.b", "depthmask.three.c", "depthmask.one.a"]
    assert find_circle(join_packages(tmp_path, graph)) == ["depthmask.one", "depthmask.two", "depthmask.three", "depthmask.one"]
