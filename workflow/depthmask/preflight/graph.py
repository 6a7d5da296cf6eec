"""Reads the paths in a dvc.yaml (outputs, and inputs named by params) without DVC, which takes a second to start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from depthmask.base.errors import UserError
from depthmask.base.files import read_regular_file

TEMPLATE = re.compile(r"\$\{([^}]*)\}")
OUTPUT_KINDS = ("outs", "metrics", "plots")
# kept beside the results by the tools and by killed runs, which may clear them
KEPT_BY_TOOLS = (".git", ".dvc", ".snakemake", ".shards", ".checkpoints", "logs")


@dataclass(frozen=True)
class GraphPaths:
    """Paths in a dvc.yaml, as written there.

    outputs: {path: stage}; for a templated path, the folder that contains all its paths, or the existing ones.
    inputs: {dotted key: path} of deps that are templates of a params.yaml key.
    """

    outputs: Mapping[str, str]
    inputs: Mapping[str, str]


def read_graph(path: Path, values: Mapping[str, Any]) -> GraphPaths:
    """Read the paths of a dvc.yaml; values: of params.yaml, nested.

    Raises:
        UserError: the file cannot be read, or is not a DVC graph.
    """
    try:
        stages = YAML(typ="safe").load(read_regular_file(path).decode("utf-8"))["stages"]
        outputs: dict[str, str] = {}
        inputs: dict[str, str] = {}
        for name, stage in stages.items():
            stage = stage.get("do", stage)  # foreach
            for output in _list_outputs(stage):
                outputs |= {place: name for place in _list_places(output, path.parent) if place not in outputs}
            for dep in stage.get("deps") or ():
                for key in TEMPLATE.findall(dep):
                    found = _find_value(values, key)
                    if isinstance(found, str):
                        inputs[key] = dep.replace("${" + key + "}", found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: cannot be read as a DVC graph ({reason}); correct it, or restore it from git") from error
    return GraphPaths(outputs, inputs)


def _list_outputs(stage: Mapping[str, Any]) -> Iterator[str]:
    for kind in OUTPUT_KINDS:
        for entry in stage.get(kind) or ():
            path = entry if isinstance(entry, str) else next(iter(entry))
            yield str(PurePosixPath(stage.get("wdir") or "", path))


def _list_places(output: str, root: Path) -> list[str]:
    """reports/plan for reports/plan/${item}.json; for plan_${item}/a.json the folders that exist: plan_1, plan_2."""
    fixed, template, _ = output.partition("${")
    if not template:
        return [output]
    folder = fixed.rpartition("/")[0]
    if folder:
        return [folder]
    return sorted(str(found) for found in root.glob(TEMPLATE.sub("*", output).split("/")[0]))


def _find_value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, or None."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
