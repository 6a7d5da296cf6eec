"""The project's Markdown pages as checks need them: blocks, inline code, links, headings, and the commands in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the words behind the fence (`yaml fragment`), and its lines without their common indentation."""

    info: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page: its path from the project's folder, and its text."""

    path: str
    text: str

    @cached_property
    def blocks(self) -> list[Block]:
        found = []
        for indent, info, body in FENCE.findall(self.text):
            found.append(Block(info.strip(), "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))))
        return found

    @cached_property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def codes(self) -> list[str]:
        """Every piece of inline code; in a table a bar within it is written with a backslash."""
        return [" ".join(code.split()).replace("\\|", "|") for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", self.prose)]

    @cached_property
    def links(self) -> list[str]:
        """The targets of links and images."""
        return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?<!`)`[^`\n]+`(?!`)", "", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """What can stand behind # in a link to the page: GitHub's names of headings, and anchors of our own."""
        anchors, seen = set(re.findall(r'<a id="([^"]+)">', self.text)), {}
        for heading in re.findall(r"^#{1,6} +(.+?) *#*$", self.prose, re.MULTILINE):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            number = seen[slug] = seen.get(slug, -1) + 1
            anchors.add(f"{slug}-{number}" if number else slug)
        return anchors


@lru_cache
def list_files() -> frozenset[str]:
    """What git has, or would take: all but what it ignores."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return frozenset(name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists())


@lru_cache
def list_folders() -> frozenset[str]:
    """Every folder of these files, without the last slash."""
    return frozenset(str(folder) for name in list_files() for folder in Path(name).parents)


@lru_cache
def read_pages() -> dict[str, Page]:
    """Every page of the project, by its path."""
    names = sorted(name for name in list_files() if name.endswith(".md"))
    return {name: Page(name, (ROOT / name).read_text(encoding="utf-8")) for name in names}


def split_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a shell line, in the order of pipes and lists; substitutions first, comments left out.

    Assignments before a command are words of it. Raises ValueError for quotes that are not closed.
    """
    while inner := re.search(r"\$\(([^()]*)\)", line):
        yield from split_commands(inner[1])
        line = line[: inner.start()] + "SUBSTITUTED" + line[inner.end() :]
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            if words:
                yield words
            words = [word] if "<" in word or ">" in word else []  # a file's name is no command
        else:
            words.append(word)
    if words:
        yield words


def list_lines(block: Block) -> list[str]:
    """The lines of a shell block, those that end in a backslash joined, empty ones and comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
