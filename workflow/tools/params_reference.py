"""docs/params_reference.md: every key of params.yaml and of leaderboard/params.yaml; compared with the page, or written again.

What a key may hold comes from the schema; its meaning from the comment behind it in params.yaml, else in docs/params_more.yaml,
which has the keys that params.yaml does not hold as it comes; a loss's from the table of docs/losses_and_metrics.md; which stages
read it from dvc.yaml. So no text stands twice.

    PYTHONPATH=workflow python -m tools.params_reference [--write]
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from depthmask.base.errors import UserError, print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.commands.recipe_yaml import format_flow, load_document, read_comment
from depthmask.leaderboard.params import LeaderboardParams
from depthmask.params import Params
from depthmask.params.plain_yaml import parse_yaml
from tools.schema_keys import Key, walk_keys

PAGE = Path("docs/params_reference.md")
MORE = Path("docs/params_more.yaml")
LOSSES = Path("docs/losses_and_metrics.md")
LIKE = {"finetune": "pretrain"}  # a section whose keys have the texts of another's
CHARACTERS_MAX = 40  # of a default in the table
TABLE = "| key | value | range | default | read by | meaning |\n| --- | --- | --- | --- | --- | --- |\n"

HEAD = f"""\
# Every key of params.yaml

Written by `make docs`: what a key may hold is the schema's (`workflow/depthmask/params/`), the meaning is the comment in
`params.yaml`, and in [{MORE.name}]({MORE.name}) for keys that `params.yaml` does not hold as it comes (default: none).
How the file works: [params](params.md).

*Read by* names the stages whose params in `dvc.yaml` hold the key: they run again when it changes, and those after them
where what they read has changed by it. The stage `check` reads all keys besides.
A key of a transform is written with the transform's name here and with its place in the list by messages:
`augment.geometric.rotate.limit_deg`, `augment.geometric.0.limit_deg`.
"""
BOARD_HEAD = """
## Leaderboard

The keys of `leaderboard/params.yaml`, for [the leaderboard](leaderboard.md); those of shared sections mean what they mean above.
"""


@dataclass(frozen=True)
class File:
    """A params file: its schema, its values as they come, the text of each key, and the params of each stage."""

    schema: type[BaseModel]
    values: Mapping[str, Any]
    texts: Mapping[str, str]
    readers: Mapping[str, tuple[str, ...]]


def make_page(root: Path) -> str:
    """The page as it should be.

    Raises:
        UserError: a key has no text.
    """
    own = read_file(root, "", Params, {})
    board = read_file(root, "leaderboard", LeaderboardParams, own.texts)
    rows = (_write_row(board, key, "leaderboard.") for key in walk_keys(board.schema))
    return f"{HEAD}{''.join(_write_sections(own))}{BOARD_HEAD}\n{TABLE}{''.join(rows)}"


def read_file(root: Path, folder: str, schema: type[BaseModel], otherwise: Mapping[str, str]) -> File:
    """The params file of a folder; otherwise: texts of keys that have none of their own in it."""
    text = (root / folder / "params.yaml").read_text(encoding="utf-8")
    texts = {**otherwise, **read_comments((root / MORE).read_text(encoding="utf-8")), **read_comments(text)}
    texts.update(_read_losses((root / LOSSES).read_text(encoding="utf-8")))
    return File(schema, parse_yaml(text, f"{folder}/params.yaml"), texts, read_readers(root / folder / "dvc.yaml"))


def read_comments(text: str) -> dict[str, str]:
    """The comment of each key of a YAML file, by the key's dotted name: behind it, and going on below in the same column."""
    return dict(_walk_comments(load_document(text), ""))


def read_readers(path: Path) -> dict[str, tuple[str, ...]]:
    """The params keys and sections of each stage of a dvc.yaml; none for a stage that reads the whole file."""
    stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    named = {name: stage.get("do", stage).get("params", []) for name, stage in stages.items()}
    return {name: tuple(key for key in keys if isinstance(key, str)) for name, keys in named.items()}


def find_text(file: File, name: str) -> str:
    """What a key means.

    Raises:
        UserError: no comment says it.
    """
    section, _, rest = name.partition(".")
    text = file.texts.get(name) or file.texts.get(f"{LIKE.get(section)}.{rest}")
    if not text:
        raise UserError(f"params.yaml: {name}: no comment says what it means; write one there, or in {MORE} if it stands there")
    return text


def _walk_comments(node: Any, above: str) -> Iterator[tuple[str, str]]:
    """Down mappings and lists of them; an item of a list is named by its transform."""
    if isinstance(node, list):
        for item in node:
            if isinstance(item, Mapping) and "transform" in item:
                yield from _walk_comments(item, f"{above}{item['transform']}.")
    if isinstance(node, Mapping):
        for key, value in node.items():
            comment = read_comment(node, key)
            if comment:
                yield f"{above}{key}", comment
            yield from _walk_comments(value, f"{above}{key}.")


def _read_losses(page: str) -> dict[str, str]:
    """The text of each term's weight, from the table of losses."""
    rows = re.search(r"^## Losses\n.*?\n\| ---.*?\n(.*?)\n\n", page, re.DOTALL | re.MULTILINE)[1].splitlines()
    texts = {}
    for row in rows:
        name, tasks, what = (cell.strip() for cell in row.split("|")[1:4])
        for task in tasks.split(", "):
            texts[f"loss.{task}.{name.strip('`')}"] = f"weight of [this term]({LOSSES.name}#losses): {what}"
    return texts


def _write_sections(file: File) -> Iterator[str]:
    """A heading, the section's text and a table for each section; keys that are no section come first."""
    keys = list(walk_keys(file.schema))
    single = [key for key in keys if "." not in key.name and not key.has_keys]
    yield f"\n## No section\n\n{TABLE}{''.join(_write_row(file, key, '') for key in single)}"
    for section in (key for key in keys if "." not in key.name and key.has_keys):
        below = [key for key in keys if key.name.startswith(f"{section.name}.")]
        text = _write_text(find_text(file, section.name))
        yield f"\n## {section.name}\n\n{text[0].upper()}{text[1:]}.\n\n{TABLE}"
        yield from (_write_row(file, key, "") for key in below)


def _write_row(file: File, key: Key, anchor: str) -> str:
    cells = [f'<a id="{anchor}{key.name}"></a>`{key.name}`', key.value, key.bounds, _write_default(file, key)]
    cells += [", ".join(_list_readers(file, key.name)), _write_text(find_text(file, key.name))]
    return "".join(f"| {cell.replace('|', chr(92) + '|')} " if cell else "| " for cell in cells) + "|\n"


def _write_default(file: File, key: Key) -> str:
    """The value that the file comes with; nothing for a mapping that is there."""
    value: Any = file.values
    for part in key.name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return "none"
        value = value[part]
    if isinstance(value, Mapping):
        return ""
    text = format_flow(value)
    return f"`{text}`" if len(text) <= CHARACTERS_MAX else f"{len(value)} of them"


def _list_readers(file: File, name: str) -> list[str]:
    """The stages that run again when the key changes, in the order of dvc.yaml."""
    return [stage for stage, keys in file.readers.items() if any(f"{name}.".startswith(f"{key}.") for key in keys)]


def _write_text(comment: str) -> str:
    """A comment as Markdown: documents as links, and no emphasis by accident."""
    return re.sub(r"(?<!\]\()\bdocs/(\w+\.(?:md|yaml))", r"[\1](\1)", comment.replace("*", "\\*"))


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=f"Compare {PAGE} with the schema and the comments of params.yaml.")
    parser.add_argument("--write", action="store_true", help="rewrite the page")
    args = parser.parse_args(argv)
    wanted = make_page(Path())
    found = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if found == wanted:
        return 0
    if args.write:
        write_text(PAGE, wanted)
        print(f"{PAGE}: written")
        return 0
    lines = found.splitlines(), wanted.splitlines()
    print(*difflib.unified_diff(*lines, str(PAGE), "repaired by `make docs`", n=0, lineterm=""), sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
