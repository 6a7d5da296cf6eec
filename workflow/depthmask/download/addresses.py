"""What an address leads to: one file, or the files of a remote folder."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import unquote, urldefrag, urlsplit

from depthmask.download.drive import find_drive_files, is_drive
from depthmask.download.http import HttpFile
from depthmask.download.remote import RemoteFile
from depthmask.errors import UserError

ALLOWED = "http://, https://, s3://BUCKET/KEY, s3://BUCKET/PREFIX/, or a link to a file or folder of Google Drive"


def split_sha256(url: str) -> tuple[str, str | None]:
    """ADDRESS#sha256=HEX taken apart; other fragments stay with the address, which ignores them."""
    address, fragment = urldefrag(url)
    if not fragment.startswith("sha256="):
        return url, None
    digits = fragment.removeprefix("sha256=").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise UserError(f"{url}: #sha256= is followed by {len(digits)} characters; allowed: 64 hex digits")
    return address, digits


def find_files(url: str) -> list[RemoteFile]:
    """The files behind an address, each with its path within the folder, if it is one.

    Raises:
        UserError: the address is of no known kind, or a name in the folder leads outside of it.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        from depthmask.download.s3 import S3File, list_objects  # botocore takes a third of a second

        files = list_objects(url) if url.endswith("/") else [S3File(url, url.rpartition("/")[2])]
    elif scheme in ("http", "https") and is_drive(url):
        files = find_drive_files(url)
    elif scheme in ("http", "https"):
        files = [HttpFile(url, unquote(urlsplit(url).path.rpartition("/")[2]) or "archive")]
    else:
        raise UserError(f"{url}: no address that is known; allowed: {ALLOWED}")
    paths = [PurePosixPath(file.path) for file in files]
    for path in paths:
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{url}: holds {path}, a path outside of it; do not trust this folder")
    twice = next((path for path, number in Counter(paths).items() if number > 1), None)
    if twice:
        raise UserError(f"{url}: holds {twice} twice; rename one")
    return files


def is_folder(url: str) -> bool:
    """Whether the address is that of a remote folder, from its form alone."""
    return (url.startswith("s3://") and url.endswith("/")) or (is_drive(url) and "/folders/" in url)
