"""How a model on the Hugging Face Hub is named: hf://OWNER/NAME/PATH@REVISION, of which PATH and REVISION may be left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.errors import UserError

SCHEME = "hf://"
FILE = "model.safetensors"  # the name that tools of the Hub look for
ADDRESS = re.compile(
    r"hf://(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:/(?P<path>[\w.-]+(?:/[\w.-]+)*))?(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?",
    re.ASCII,
)
ALLOWED = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/PATH.safetensors@REVISION"
SHOWN_MAX = 200


@dataclass(frozen=True)
class HubAddress:
    """A model file of a repository. revision: a branch, a tag or a commit; None for the newest commit of the main branch."""

    repository: str
    path: str = FILE
    revision: str | None = None

    def __str__(self) -> str:
        path = "" if self.path == FILE else f"/{self.path}"
        return f"{SCHEME}{self.repository}{path}" + (f"@{self.revision}" if self.revision else "")


def is_address(text: object) -> bool:
    """Whether a text names something on the Hub, well or badly; a path never does."""
    return isinstance(text, str) and text.lower().startswith(SCHEME)


def read_model(text: str) -> Path | str:
    """A model as arguments name it: an address as it is, anything else as a path."""
    return text if is_address(text) else Path(text)


def parse_address(text: str) -> HubAddress:
    """Read the address of a model.

    Raises:
        UserError: it is not one, or names a file that is no model file.
    """
    found = ADDRESS.fullmatch(text)
    shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
    if found is None or ".." in text:
        raise UserError(f"{shown}: not the address of a model; allowed: {ALLOWED}")
    path = found["path"] or FILE
    if not path.endswith(".safetensors"):
        raise UserError(f"{shown}: {path} is not a model file; name a .safetensors file of it")
    return HubAddress(f"{found['owner']}/{found['name']}", path, found["revision"])
