"""What a page tells its reader to write or to type: blocks of code, files in whole and files in part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^## (.*?)$|^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def list_steps(page: Path) -> list[tuple[str, str, str]]:
    """(heading, language, text) of the page's blocks of code, in order; texts end with a line's end."""
    steps, heading = [], ""
    for title, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        heading = title or heading
        if language:
            steps.append((heading, language, text))
    return steps


def list_blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of a language, in order."""
    return [text for _, name, text in list_steps(page) if name == language]


def list_commands(block: str) -> list[str]:
    """The commands of a block of shell, without what stands behind a `#`."""
    return [command for line in block.splitlines() if (command := re.sub(r"(^|\s+)#.*", "", line).strip())]


def write_files(page: Path, root: Path) -> list[str]:
    """Write each block of Python that begins with `# PATH` to that path below `root`; returns the paths."""
    written = []
    for block in list_blocks(page, "python"):
        name, text = block.split("\n", 1)
        path = root / name.removeprefix("# ")
        assert name.startswith("# ") and path.parent.is_dir(), name
        path.write_text(text, encoding="utf-8")
        written.append(name.removeprefix("# "))
    return written


def change_files(blocks: list[str], root: Path) -> list[str]:
    """Do to files below `root` what blocks of `diff` say; returns the files.

    `--- PATH` names a file; its lines begin with a blank, `+` or `-`, and `@@` stands for lines between. Lines that stay or go
    must be there, next to each other and once; a trailing comment of the file may be missing on the page.
    """
    changed = []
    for block in blocks:
        for name, body in re.findall(r"^--- (\S+)\n(.*?)(?=^--- |\Z)", block, re.DOTALL | re.MULTILINE):
            path = root / name
            lines = path.read_text(encoding="utf-8").splitlines()
            for part in re.split(r"^@@\n", body, flags=re.MULTILINE):
                lines = list(_change_lines(lines, part.splitlines(), name))
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            changed.append(name)
    return changed


def _change_lines(lines: list[str], part: list[str], name: str) -> Iterator[str]:
    old = [line[1:] for line in part if not line.startswith("+")]
    found = [start for start in range(len(lines)) if _are_same(lines[start : start + len(old)], old)]
    assert len(found) == 1, f"{name} has {len(found)} times:\n" + "\n".join(old)
    yield from lines[: found[0]]
    at = found[0]
    for line in part:
        if line.startswith("+"):
            yield line[1:]
            continue
        if not line.startswith("-"):
            yield lines[at]
        at += 1
    yield from lines[at:]


def _are_same(lines: list[str], old: list[str]) -> bool:
    return len(lines) == len(old) and all(
        line == wanted or re.sub(r"\s+# .*", "", line) == wanted for line, wanted in zip(lines, old, strict=True)
    )
