"""Brings a folder, archives or URLs into one folder that contains the layout."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from depthmask.base.credentials import read_address
from depthmask.base.errors import UserError
from depthmask.base.files import hash_file
from depthmask.base.paths import validate_path
from depthmask.catalog.archives import (
    ARCHIVES,
    explain_file,
    find_archives,
    is_archive,
    is_junk,
    read_download,
)
from depthmask.catalog.layouts import Layout, explain_foreign_in
from depthmask.download.addresses import find_files, is_folder, split_sha256
from depthmask.download.assemble import Archive, Assembler, require_all_parts
from depthmask.download.cache import CachedFile, fetch_into_cache, forget
from depthmask.download.names import join_inside, show_name
from depthmask.download.places import Places
from depthmask.download.remote import RemoteFile
from depthmask.download.space import require_space
from depthmask.download.unpack import BadArchiveError, unpack
from depthmask.download.wrappers import find_root, look_through, skip_top_folder
from depthmask.params import DownloadParams


def collect(download: DownloadParams, places: Places, cache: Path | None, exact: bool = False) -> tuple[Path, list[dict]]:
    """The folder that contains the layout, and a record of each archive.

    places: of the folder to fill, if there are archives or URLs, with the origin of what is put there. exact: archives keep
    their structure, because a list of sets says which folder is which; else the layout is looked for in them.
    """
    layout = None if exact else Layout.of(download)
    if download.urls:
        if cache is None:
            raise ValueError("URLs need a cache")
        return _collect_urls(download, layout, places, cache)
    path = Path(download.path)
    validate_path(path)
    if path.is_dir():
        return _collect_folder(path, download, layout, places)
    if path.is_file() and is_archive(path):
        record = _describe_local(path, download.sha256)
        _require_alone(path)
        return _unpack_alone(path, str(path), layout, places), [record]
    if path.is_file() and (explained := explain_file(path)) is not None:
        raise UserError(f"{path}: {explained}")
    if path.exists():
        raise UserError(f"{path}: neither a folder nor an archive; allowed: a folder, {', '.join(ARCHIVES)}")
    raise UserError(f"{path}: no such folder or archive; set download.path")


def _collect_folder(path: Path, download: DownloadParams, layout: Layout | None, places: Places) -> tuple[Path, list[dict]]:
    """A local folder as it is; if there are archives in it, their contents beside links to everything else."""
    for entry in path.iterdir():
        validate_path(entry)
    archives = find_archives(path)
    if not archives and download.sha256 is None:
        foreign = explain_foreign_in(path, download)
        if foreign is not None:
            raise UserError(foreign)
        return path, []
    if download.sha256 is not None:
        raise UserError(f"{path}: is a folder, but download.sha256 is for an archive; set it to null")
    places.folder.mkdir(parents=True)
    places.put(places.folder, str(path), None)
    unpacked = {archive if archive.parent == path else archive.parent for archive in archives}
    for entry in path.iterdir():
        if entry not in unpacked and not entry.name.startswith(".") and not is_junk(entry.name):
            join_inside(places.folder, entry.name).symlink_to(entry.absolute())
    given = [Archive(archive, archive.name, str(archive)) for archive in archives]
    require_all_parts(given)
    assembler, records = Assembler(places.folder, layout, places), []
    for archive in given:
        records.append(_describe_local(archive.path, None))
        assembler.add(archive, numbered=False)
    return assembler.finish(str(path)), records


def _collect_urls(download: DownloadParams, layout: Layout | None, places: Places, cache: Path) -> tuple[Path, list[dict]]:
    """Fetch all files of all URLs, unpack the archives, and put other files beside them."""
    files: list[tuple[RemoteFile, str | None, bool]] = []
    for url in download.urls:
        address, sha256 = split_sha256(url)
        in_folder = is_folder(read_address(address))
        if sha256 is not None and in_folder:
            raise UserError(f"{url}: a remote folder has no single sha256; remove it, or list the files one by one")
        files += [(file, sha256 or download.sha256, in_folder) for file in find_files(address)]
    where = download.urls[0] if len(download.urls) == 1 else "download.urls"
    places.put(places.folder, where, "")
    assembler, records, several = Assembler(places.folder, layout, places), [], []
    for remote, sha256, in_folder in files:
        cached = fetch_into_cache(cache, remote, sha256)
        name = remote.path if in_folder else choose_name(cached.name, remote.path)
        records.append({"name": name, "url": remote.url, "sha256": cached.sha256, "num_bytes": cached.num_bytes})
        try:
            if in_folder and not is_archive(name):
                _copy_beside(cached, places.folder, name, remote.url)
            elif len(files) == 1:
                require_all_parts([_describe_remote(remote, in_folder, cached, name)])
                return _unpack_alone(cached.path, remote.url, layout, places), records
            else:
                several.append(_describe_remote(remote, in_folder, cached, name))
                assembler.add(several[-1], numbered=not in_folder)
        except BadArchiveError:
            forget(cache, remote)  # a file that is not an archive, or a bad one, must not be trusted at its next use
            raise
    require_all_parts(several)
    return assembler.finish(where), records


def list_unused(archives: list[dict], files: list[Path], places: Places, layout: str) -> list[str]:
    """A warning for each of several archives none of whose files are the source's.

    archives: as recorded; files: of the source.
    """
    if len(archives) < 2:
        return []
    used = places.used | places.find_origins([file for file in files if file.is_relative_to(places.folder)])
    return [f"{name}: no file in it belongs to download.source: {layout}" for name in sorted(places.archives - used)]


def choose_name(given: str, address: str) -> str:
    """The name of a fetched file: as the server gives it or, if only that is an archive's name, as its URL does.

    given: from the server, or of the cache's record of it; address: from the URL (`.../bg.zip/content`).
    """
    return address if is_archive(address) and not is_archive(given) else given


def _unpack_alone(archive: Path, shown: str, layout: Layout | None, places: Places) -> Path:
    """Unpack the only archive; returns the folder that contains the layout."""
    unpack(archive, places.folder, shown)
    places.put(places.folder, shown, "")
    if layout is None:
        return skip_top_folder(places.folder)
    root = find_root(places.folder, layout, shown)
    for entry in [] if layout.searches else root.iterdir():
        if layout.knows(entry.name) and entry.is_dir():
            _cut_double(entry, shown, places)
    return root


def _cut_double(folder: Path, shown: str, places: Places) -> None:
    """Replace a folder that holds nothing but one of the same name by that."""
    inner = look_through(folder, folder.name)
    if inner != folder:
        places.put(folder, shown, inner.relative_to(places.folder).as_posix())
        aside = places.folder.with_name(f"{places.folder.name}.double")
        inner.rename(aside)
        shutil.rmtree(folder)
        aside.rename(folder)


def _describe_remote(remote: RemoteFile, in_folder: bool, cached: CachedFile, name: str) -> Archive:
    path = PurePosixPath(name)
    parent = path.parent.as_posix() if in_folder and path.parent.name else ""
    return Archive(cached.path, path.name, remote.url, parent)


def _require_alone(path: Path) -> None:
    """Raise UserError if a local archive is one of several parts of a download."""
    download = read_download(path.name)
    if download.number:
        others = [entry for entry in find_archives(path.parent) if read_download(entry.name)[:2] == download[:2]]
        numbers = {read_download(entry.name).number for entry in others}
        if len(numbers) > 1 or download.number != "001":
            raise UserError(
                f"{path}: is part {int(download.number)} of a split download; put all parts into one folder, and set"
                " download.path to that folder"
            )


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
