"""Brings a folder, archives or URLs into one folder that contains the layout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from depthmask.base.credentials import read_address
from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import validate_path
from depthmask.catalog.archives import ARCHIVES, cut_suffix, is_archive
from depthmask.download.addresses import find_files, is_folder, split_sha256
from depthmask.download.cache import CachedFile, fetch_into_cache, forget
from depthmask.download.names import join_inside, make_name, make_unique, show_name
from depthmask.download.remote import RemoteFile
from depthmask.download.space import require_space
from depthmask.download.unpack import BadArchiveError, look_through, unpack
from depthmask.params import DownloadParams


def collect(download: DownloadParams, folder: Path, cache: Path | None) -> tuple[Path, list[dict]]:
    """The folder that contains the layout, and a record of each archive."""
    if download.urls:
        if cache is None:
            raise ValueError("URLs need a cache")
        return _fetch_urls(download, folder, cache)
    path = Path(download.path)
    validate_path(path)
    if path.is_dir():
        for entry in path.iterdir():
            validate_path(entry)
        archives = sorted(entry for entry in path.iterdir() if is_archive(entry) and entry.is_file())
        if not archives and download.sha256 is None:
            return path, []
        if download.sha256 is not None:
            raise UserError(f"{path}: is a folder, but download.sha256 is for an archive; set it to null")
        return _unpack_archives(path, archives, folder)
    if path.is_file() and is_archive(path):
        record = _describe_local(path, download.sha256)
        unpack(path, folder, str(path))
        return look_through(folder), [record]
    if path.exists():
        raise UserError(f"{path}: neither a folder nor an archive; allowed: a folder, {', '.join(ARCHIVES)}")
    raise UserError(f"{path}: no such folder or archive; set download.path")


def _unpack_archives(path: Path, archives: list[Path], folder: Path) -> tuple[Path, list[dict]]:
    """Unpack each archive in a local folder under its stem; link everything else beside them."""
    folder.mkdir(parents=True)
    for entry in path.iterdir():
        if entry not in archives and not entry.name.startswith("."):
            join_inside(folder, entry.name).symlink_to(entry.absolute())
    records = []
    for archive in archives:
        records.append(_describe_local(archive, None))
        _unpack_one(archive, _place_archive(folder, archive.name, str(archive)), str(archive))
    return folder, records


def _fetch_urls(download: DownloadParams, folder: Path, cache: Path) -> tuple[Path, list[dict]]:
    """Fetch all files of all URLs, unpack the archives, and put other files beside them."""
    files: list[tuple[RemoteFile, str | None, bool]] = []
    for url in download.urls:
        address, sha256 = split_sha256(url)
        in_folder = is_folder(read_address(address))
        if sha256 is not None and in_folder:
            raise UserError(f"{url}: a remote folder has no single sha256; remove it, or list the files one by one")
        files += [(file, sha256 or download.sha256, in_folder) for file in find_files(address)]
    records, taken = [], []
    for remote, sha256, in_folder in files:
        cached = fetch_into_cache(cache, remote, sha256)
        name = remote.path if in_folder else cached.name
        records.append({"name": name, "url": remote.url, "sha256": cached.sha256, "num_bytes": cached.num_bytes})
        try:
            if in_folder and not is_archive(name):
                _copy_beside(cached, folder, name, remote.url)
            elif len(files) == 1:
                unpack(cached.path, folder, remote.url)
            else:
                _unpack_one(cached.path, _place_archive(folder, name, remote.url, None if in_folder else taken), remote.url)
        except BadArchiveError:
            forget(cache, remote)  # a file that is not an archive, or a bad one, must not be trusted at its next use
            raise
    return (look_through(folder) if len(files) == 1 else folder), records


def _place_archive(folder: Path, name: str, shown: str, taken: list[str] | None = None) -> Path:
    """Where to unpack one of several archives: under its stem.

    taken: the stems so far; a duplicate gets a number, and the new stem is added. None: the name was chosen by its owner, in a
    local or remote folder, and is kept.
    """
    path = PurePosixPath(name)
    stem = make_name(cut_suffix(path.name))
    if taken is not None:
        stem = make_unique(stem, taken)
        taken.append(stem)
    target = join_inside(folder, path.with_name(stem))
    if os.path.lexists(target):
        raise UserError(f"{shown}: another archive or folder is called {show_name(stem)}; rename one")
    return target


def _unpack_one(archive: Path, target: Path, shown: str) -> None:
    """Unpack one of several archives into `target`; a single top folder of the same name is skipped."""
    unpack(archive, target, shown)
    inner = look_through(target)
    if inner.name == target.name and inner != target:
        aside = target.with_name(f".{target.name}.inner")
        inner.rename(aside)
        shutil.rmtree(target)
        aside.rename(target)


def _copy_beside(cached: CachedFile, folder: Path, name: str, shown: str) -> None:
    """Copy a file of a remote folder to its place; nothing is overwritten."""
    require_space(folder, cached.num_bytes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = join_inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with cached.path.open("rb") as source, target.open("xb") as out:
            shutil.copyfileobj(source, out)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"{shown}: another file or folder is in the place of {show_name(name)}; rename one") from error


def _describe_local(path: Path, expected: str | None) -> dict:
    found = hash_file(path)
    if expected is not None and found != expected:
        raise UserError(f"{path}: sha256 is {found}, but download.sha256 is {expected}; fetch the file again, or correct the key")
    return {"name": path.name, "url": None, "sha256": found, "num_bytes": path.stat().st_size}
