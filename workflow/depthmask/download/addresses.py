"""Resolves a URL to one file, or to the files of a remote folder."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urldefrag, urlsplit

from depthmask.base.credentials import read_address
from depthmask.base.errors import UserError
from depthmask.catalog.archives import cut_suffix, is_archive, is_junk
from depthmask.download.drive import find_drive_files, is_drive
from depthmask.download.http import HttpFile
from depthmask.download.names import find_fault, make_name, show_name
from depthmask.download.remote import RemoteFile

ALLOWED = "http://, https://, s3://BUCKET/KEY, s3://BUCKET/PREFIX/, env:NAME, or a link to a file or folder of Google Drive"


def split_sha256(url: str) -> tuple[str, str | None]:
    """Split URL#sha256=HEX; other fragments stay in the URL, where they have no effect."""
    address, fragment = urldefrag(url)
    if not fragment.startswith("sha256="):
        return url, None
    digits = fragment.removeprefix("sha256=").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise UserError(f"{url}: #sha256= is followed by {len(digits)} characters; allowed: 64 hex digits")
    return address, digits


def find_files(url: str) -> list[RemoteFile]:
    """The files at a URL, each with its path within the folder, if it is one; env:NAME is looked up.

    Raises:
        UserError: the kind of URL is unknown, or a name in the folder leads outside it or is not a valid file name.
    """
    address = read_address(url)
    parts = _split(address, url)
    if parts.scheme == "s3":
        from depthmask.download.s3 import S3File, list_objects  # botocore takes a third of a second

        if not address.endswith("/"):
            return [S3File(address, make_name(address.rpartition("/")[2]))]
        files = list_objects(address)
    elif parts.scheme in ("http", "https") and is_drive(address):
        files = find_drive_files(address)
    elif parts.scheme in ("http", "https"):
        return [HttpFile(url, name_address(parts), address)]
    else:
        raise UserError(f"{url}: unknown kind of address; allowed: {ALLOWED}")
    files = [file for file in files if not is_junk(file.path)] or files
    for file in files:
        fault = find_fault(file.path)
        if fault is not None:
            what = f"{url}: contains {show_name(file.path)}, {fault.words}"
            raise UserError(f"{what}; {fault.remedy}" if fault.remedy else f"{what}; do not trust this folder")
    paths = [PurePosixPath(file.path) for file in files]
    twice = next((path for path, number in Counter(paths).items() if number > 1), None)
    if twice:
        raise UserError(f"{url}: contains {show_name(str(twice))} twice; rename one")
    return files


def name_address(parts: SplitResult) -> str:
    """The file that a URL is of: the last part of its path or value of its query that is an archive's name, else the path's end.

    `.../files/bg.zip/content`, `.../bg.zip?download=1` and `.../download?file=bg.zip` are of bg.zip.
    """
    values = [value for _, value in parse_qsl(parts.query)]
    for part in (*reversed(unquote(parts.path).split("/")), *values):
        name = make_name(part)
        if is_archive(name) and cut_suffix(name):
            return name
    return make_name(unquote(parts.path))


def _split(address: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and not (parts.hostname and (parts.port is None or parts.port)):
            raise ValueError("no host, or port 0")
    except ValueError as error:
        raise UserError(f"{shown}: is not an address ({error}); correct the address") from error
    return parts


def is_folder(url: str) -> bool:
    """Whether a URL (not env:NAME) is that of a remote folder, judged by its form alone."""
    return (url.startswith("s3://") and url.endswith("/")) or (is_drive(url) and "/folders/" in url)
