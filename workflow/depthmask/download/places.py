"""Says where an unpacked file comes from: messages name archive and member, not a working folder that is removed."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from depthmask.base.errors import UserError

ENDS = "/:;, '\")"  # what may follow a path in a message


class _Origin(NamedTuple):
    """name: of the archive, URL or folder; shown: with the place in it; joiner: between that and the rest of a path."""

    name: str
    shown: str
    joiner: str


class Places:
    """The origin of each file and folder below a working folder. As a context, it corrects the paths of errors raised in it.

    An origin is the name of an archive, URL or local folder; what is in an archive follows after a colon.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.archives: set[str] = set()  # all of several
        self.used: set[str] = set()  # those of them whose files were found in another one as well
        self._of: dict[str, _Origin] = {}

    def __enter__(self) -> Places:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, UserError):
            error.args = (self.explain(error.message), *error.args[1:])
            error.hint = error.hint and self.explain(error.hint)
        elif isinstance(error, OSError):
            for name in ("filename", "filename2"):
                if isinstance(getattr(error, name), str | os.PathLike):
                    setattr(error, name, self.explain(os.fspath(getattr(error, name))))

    def put(self, path: Path, origin: str, inner: str | None) -> None:
        """What is at `path` comes from `origin`. inner: its path in that archive; None: `origin` is a folder or file itself."""
        # "archive: a/b" for what is in an archive, "folder/a/b" for the rest
        shown = origin if not inner else f"{origin}: {inner}"
        self._of[self._name(path)] = _Origin(origin, shown, ": " if inner == "" else "/")

    def follow(self, old: Path, new: Path) -> None:
        """What was at `old` has been renamed `new`."""
        text = f"/{self._name(old)}"
        name, found = self._find(text, exact=True)
        rest = text[len(name) + 1 :] if name else text
        shown = f"{found.shown}{found.joiner}{rest[1:]}" if rest else found.shown
        below = {key: self._of.pop(key) for key in list(self._of) if f"/{key}/".startswith(f"{text}/")}
        self._of |= {self._name(new) + key[len(text) - 1 :]: origin for key, origin in below.items()}
        self._of[self._name(new)] = _Origin(found.name, shown, "/" if rest else found.joiner)

    def explain(self, text: str) -> str:
        """`text` with each path below the working folder replaced by where it comes from."""
        for folder in dict.fromkeys((str(self.folder), str(self.folder.resolve()))):
            done, rest = "", text
            while folder in rest:
                before, _, rest = rest.partition(folder)
                if rest[:1] not in ENDS:
                    done += before + folder
                    continue
                name, found = self._find(rest)
                rest = rest[len(name) + 1 :] if name else rest
                if rest.startswith("/"):
                    rest = found.joiner + rest[1:]
                done += before + found.shown
            text = done + rest
        return text

    def find_origins(self, files: list[Path]) -> set[str]:
        """The archives, URLs and local folders that files come from."""
        return {self._find(f"/{self._name(file)}", exact=True)[1].name for file in files}

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.folder).as_posix()
        return "" if name == "." else name

    def _find(self, text: str, exact: bool = False) -> tuple[str, _Origin]:
        """The longest known path that `text`, after its first /, begins with. exact: text is a path and nothing else."""
        ends = [at for at, letter in enumerate(text) if at and letter in ("/" if exact else ENDS)]
        for end in reversed([*ends, len(text)]):
            if text[1:end] in self._of and text[:1] == "/":
                return text[1:end], self._of[text[1:end]]
        return "", self._of.get("", _Origin(str(self.folder), str(self.folder), "/"))
