"""Names of the files of each picture: GROUP__PICTURE for a background, GROUP__PICTURE__NN for an object in it.

Without a group names begin with the picture's. So one pattern keeps together what must not be in different parts of the split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import strip_suffix
from depthmask.cutouts.making import SEPARATOR
from depthmask.download.names import fold, make_name

BYTES_MAX = 120
GROUP_PATTERN = f"^(.+?)(?:{SEPARATOR}|$)"  # for split.background_group and split.cutout_group


def name_pictures(names: Iterable[str], group: re.Pattern | None = None) -> list[str]:
    """A file name's beginning for each picture, all different on any disk; depends on the names before it alone.

    group: searched in the relative name; what it matches (its groups, if it has any) is the group.

    Raises:
        UserError: it does not match a name.
    """
    taken: dict[str, int] = {}
    bases = []
    for name in names:
        base = make_base(strip_suffix(name))
        if group is not None:
            match = group.search(name)
            if match is None or not (match[0] or any(match.groups())):
                raise UserError(f"--group {group.pattern}: does not match {name}; write a pattern that matches every picture")
            base = f"{make_base('-'.join(filter(None, match.groups())) or match[0])}{SEPARATOR}{base}"
        number = taken[fold(base)] = taken.get(fold(base), 0) + 1
        while number > 1 and fold(f"{base}-{number}") in taken:
            number += 1
        if number > 1:
            taken[fold(base)] = number
            base = f"{base}-{number}"
            taken[fold(base)] = 1
        bases.append(base)
    return bases


def make_base(text: str) -> str:
    """A part of a name: folders joined by _, no separator in it, at most BYTES_MAX bytes."""
    # a dot at the end of a number would be taken for a suffix by what shortens names
    name = make_name(re.sub(r"[/\\]+", "_", text).replace(".", "-"), "picture")
    name = re.sub(r"_{2,}", "_", name).strip("_ ") or "picture"
    if len(name.encode()) <= BYTES_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: BYTES_MAX - 13].decode(errors='ignore')}-{digest}"
