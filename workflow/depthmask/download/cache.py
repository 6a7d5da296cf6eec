"""Fetched files by address and content: fetched once, verified at every use, trusted on first use.

CACHE/ENTRY/              ENTRY: the beginning of the address's sha256
    SHA256                a whole file, named by the sha256 of its bytes
    part, part.json       what has arrived so far, and of which version; never looks like a whole file
    record.json           the address, and the sha256 that is expected behind it from now on
    lock                  held while an entry is worked on
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
    """A whole, verified file. `name` is what the server calls it, `path` where it lies in the cache."""

    name: str
    path: Path
    sha256: str
    num_bytes: int


def fetch_into_cache(cache: Path, remote: RemoteFile, sha256: str | None) -> CachedFile:
    """The file behind `remote`, from the cache if it is there and undamaged, fetched if not.

    sha256: what its bytes must have; None: whatever came when the address was first used.

    Raises:
        UserError: it cannot be fetched, or its bytes are others than expected.
    """
    entry = _find_entry(cache, remote)
    with hold_lock(entry, f"{remote.url}: another process is fetching it; waiting for that"):
        record = entry / "record.json"
        known = _read_record(record)
        wanted = sha256 or (known["sha256"] if known else None)
        if wanted and (entry / wanted).is_file():
            if hash_file(entry / wanted) == wanted:
                name = known["name"] if known else make_name(remote.path)
                _keep_record(record, remote.url, name, wanted)
                note(f"{remote.url}: from the cache, {entry}")
                return CachedFile(name, entry / wanted, wanted, (entry / wanted).stat().st_size)
            warn(f"{remote.url}: the copy in {entry} is damaged and is fetched again")
            (entry / wanted).unlink()
        name, found = _fetch_part(remote, entry / "part", wanted)
        num_bytes = (entry / found).stat().st_size
        if known and sha256 is None and found != wanted:
            raise UserError(
                f"{remote.url}: is another file than when it was first used (sha256 {found}, then {wanted})",
                hint=f"if the new one is meant, give its sha256: {found}",
            )
        if sha256 is not None and found != sha256:
            (entry / found).unlink()
            raise UserError(f"{remote.url}: sha256 is {found}, but {sha256} is expected; correct the address or the sha256")
        _keep_record(record, remote.url, name, found)
        return CachedFile(name, entry / found, found, num_bytes)


def forget(cache: Path, remote: RemoteFile) -> None:
    """Remove a file that turned out to be bad, and what is remembered of it."""
    shutil.rmtree(_find_entry(cache, remote), ignore_errors=True)


def _find_entry(cache: Path, remote: RemoteFile) -> Path:
    return cache / hashlib.sha256(remote.identity.encode(errors="surrogatepass")).hexdigest()[:24]


def _read_record(record: Path) -> dict[str, str] | None:
    """The record of an entry, its name made a file name; None: there is none yet."""
    if not record.exists():
        return None
    try:
        known = read_json(record)
        if re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return known | {"name": make_name(known["name"])}
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{record}: damaged; remove {record.parent}, and the file is fetched again and trusted as it comes")


def _fetch_part(remote: RemoteFile, part: Path, wanted: str | None) -> tuple[str, str]:
    """Fetch, and give the file the name of its sha256; returns the server's name and the sha256."""
    name, resumed = transfer(remote, part)
    found = hash_file(part)
    if resumed and wanted is not None and found != wanted:  # perhaps badly put together: once more in one piece
        part.unlink()
        name, _ = transfer(remote, part)
        found = hash_file(part)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(part, part.with_name(found))
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)
    return name, found


def _keep_record(record: Path, url: str, name: str, sha256: str) -> None:
    """Remember what is behind the address, and keep no other version of it."""
    write_json(record, {"url": mask_secrets(url), "name": name, "sha256": sha256})
    for other in record.parent.iterdir():
        if len(other.name) == 64 and other.name != sha256:
            other.unlink()
