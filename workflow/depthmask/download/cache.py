"""Fetched files by URL and content: fetched once, verified at every use, trusted on first use.

CACHE/ENTRY/              ENTRY: the first digits of the URL's sha256
    SHA256                a complete file, named by the sha256 of its bytes
    part, part.json       what has arrived so far, and of which version; never looks like a complete file
    record.json           the URL, and the sha256 expected from it from now on
    lock                  held while an entry is in use
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.credentials import mask_secrets
from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, hold_lock, read_json, write_json
from depthmask.base.terminal import note, warn
from depthmask.download.names import make_name
from depthmask.download.remote import RemoteFile
from depthmask.download.transfer import transfer


@dataclass(frozen=True)
class CachedFile:
    """A complete, verified file. name: as the server calls it; path: in the cache."""

    name: str
    path: Path
    sha256: str
    num_bytes: int


def fetch_into_cache(cache: Path, remote: RemoteFile, sha256: str | None) -> CachedFile:
    """The file of `remote`, from the cache if it is there and undamaged, else fetched.

    sha256: required; None: whatever arrived when the URL was first used.

    Raises:
        UserError: it cannot be fetched, or its sha256 is not the expected one.
    """
    entry = _find_entry(cache, remote)
    with hold_lock(entry, f"{remote.url}: another process is fetching it; waiting"):
        record = entry / "record.json"
        known = _read_record(record)
        wanted = sha256 or (known["sha256"] if known else None)
        if wanted and (entry / wanted).is_file():
            if hash_file(entry / wanted) == wanted:
                name = known["name"] if known else make_name(remote.path)
                _keep_record(record, remote.url, name, wanted)
                note(f"{remote.url}: from the cache, {entry}")
                return CachedFile(name, entry / wanted, wanted, (entry / wanted).stat().st_size)
            warn(f"{remote.url}: the copy in {entry} is damaged; fetching it again")
            (entry / wanted).unlink()
        name, found = _fetch_partial(remote, entry / "part", wanted)
        if known and sha256 is None and found != wanted:
            _name_whole(entry / "part", found)
            raise UserError(
                f"{remote.url}: has changed since it was first used (sha256 {found}, before {wanted})",
                hint=f"if you want the new file, add its sha256 to the address: {found}",
            )
        if sha256 is not None and found != sha256:
            (entry / "part").unlink()
            raise UserError(f"{remote.url}: sha256 is {found}, expected {sha256}; correct the address or the sha256")
        _keep_record(record, remote.url, name, found)  # first, because it has the file's name; after a kill the part is complete
        _name_whole(entry / "part", found)
        return CachedFile(name, entry / found, found, (entry / found).stat().st_size)


def forget(cache: Path, remote: RemoteFile) -> None:
    """Remove a file that turned out to be bad, and its record."""
    shutil.rmtree(_find_entry(cache, remote), ignore_errors=True)


def _find_entry(cache: Path, remote: RemoteFile) -> Path:
    return cache / hashlib.sha256(remote.identity.encode(errors="surrogatepass")).hexdigest()[:24]


def _read_record(record: Path) -> dict[str, str] | None:
    """The record of an entry, with its name sanitised; None if there is none yet."""
    if not record.exists():
        return None
    try:
        known = read_json(record)
        if re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return known | {"name": make_name(known["name"])}
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{record}: damaged; remove {record.parent} to fetch the file again and trust what arrives")


def _fetch_partial(remote: RemoteFile, partial: Path, wanted: str | None) -> tuple[str, str]:
    """Fetch a file; returns the server's name for it and the sha256."""
    name, resumed = transfer(remote, partial)
    found = hash_file(partial)
    if (
        resumed and wanted is not None and found != wanted
    ):  # perhaps assembled from mismatched pieces: fetch it once more in one go
        partial.unlink()
        name, _ = transfer(remote, partial)
        found = hash_file(partial)
    return name, found


def _name_whole(partial: Path, sha256: str) -> None:
    """Name a fetched file by its sha256, once its bytes are on the disk."""
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(partial, partial.with_name(sha256))
    partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)


def _keep_record(record: Path, url: str, name: str, sha256: str) -> None:
    """Record what the URL gave, and remove other versions of it."""
    write_json(record, {"url": mask_secrets(url), "name": name, "sha256": sha256})
    for other in record.parent.iterdir():
        if len(other.name) == 64 and other.name != sha256:
            other.unlink()
