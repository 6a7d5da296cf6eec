"""From a folder, archives or URLs to a complete, checked copy in the project."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from depthmask.base.credentials import mask_values, read_address
from depthmask.base.errors import UserError
from depthmask.base.files import LOCK, hash_file, hash_json, hold_lock, write_json
from depthmask.base.paths import validate_path
from depthmask.base.terminal import track
from depthmask.catalog.archives import ARCHIVES, cut_suffix, is_archive
from depthmask.catalog.named_sets import NamedSet, find_set
from depthmask.download.addresses import find_files, is_folder, split_sha256
from depthmask.download.cache import CachedFile, fetch_into_cache, forget
from depthmask.download.names import join_inside, make_name, make_unique, show_name
from depthmask.download.remote import RemoteFile
from depthmask.download.space import require_space
from depthmask.download.unpack import BadArchiveError, look_through, unpack
from depthmask.params import DownloadParams
from depthmask.registry.sources import SOURCES
from depthmask.sources import RECORD, Source, find_source_class

if TYPE_CHECKING:
    from depthmask.catalog.model_folder import ModelFolder


def fetch(download: DownloadParams, out: Path, cache: Path | None = None) -> dict:
    """Copy the source into `out`, completely or not at all, and return the record written beside it.

    cache: folder for fetched files and pseudo labels; needed if there are any.

    Raises:
        UserError: something is missing, rejected or damaged, a sha256 differs, or the files do not fit the layout.
    """
    with _work_beside(out) as work:
        named = None
        if download.source not in SOURCES:
            named = find_set(Path(download.path), download.source, SOURCES)
            download = _resolve(download, named)
        model_folder = _find_model_folder(download)
        root, archives = _bring(download, work / "unpacked", cache)
        if named is not None:
            _arrange(root, named)
        source, skipped, pseudo_labels = find_source_class(download.source)(root, download), [], None
        if model_folder is not None:
            skipped, pseudo_labels = _label(source, download, model_folder, work, cache)
            root = work / "labelled"
            source = find_source_class(download.source)(root, download)
        num_keys = len(source.backgrounds) + len(source.cutouts) + len(source.composites)
        for _ in track(source.check(), "checking", "images", num_keys):
            pass
        names = {name: hash_file(work / "result" / name) for name in _gather(source.files(), root, work / "result", work)}
        record = {
            "download": download.model_dump(),
            "set": {"name": named.name, "licence": named.licence, "citation": named.citation} if named else None,
            "num_files": len(names),
            "sha256": hash_json(names),
            "archives": archives,
            "pseudo_labels": pseudo_labels,
            "skipped": skipped + source.skipped,
            "warnings": source.warnings + ([_warn_of(pseudo_labels)] if pseudo_labels else []),
        }
        record = mask_values(record)
        write_json(work / "result" / RECORD, record)
        _put(work / "result", out, work / "old")
    return record


def _resolve(download: DownloadParams, named: NamedSet) -> DownloadParams:
    """The params that a named set stands for; depth and numbering are kept."""
    urls = [url if sha256 is None else f"{url}#sha256={sha256}" for url, sha256 in zip(named.urls, named.sha256s, strict=True)]
    return download.model_copy(update={"source": named.layout, "urls": urls})


def _bring(download: DownloadParams, folder: Path, cache: Path | None) -> tuple[Path, list[dict]]:
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


def _arrange(root: Path, named: NamedSet) -> None:
    """Rename folders of a named set to what its layout expects."""
    for name, origin in named.folders.items():
        source, target = join_inside(root, origin), root / name
        if not source.is_dir():
            raise UserError(f"download.source: {named.name} should contain a folder {origin} but does not; the set has changed")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source != target and os.path.lexists(target):
            raise UserError(
                f"download.source: {named.name} already contains a folder {name}, the new name of {origin}; the set has changed"
            )
        source.rename(join_inside(root, name))


def _find_model_folder(download: DownloadParams) -> ModelFolder | None:
    """Find the pseudo-label model before any data are fetched."""
    if download.pseudo_labels is None:
        return None
    from depthmask.catalog.model_folder import find_model

    return find_model(download)


def _label(
    source: Source, download: DownloadParams, model_folder: ModelFolder, work: Path, cache: Path | None
) -> tuple[list[dict[str, str]], dict]:
    """Fill work/labelled with the source's files and their pseudo labels.

    Returns the samples skipped so far, and the record of the pseudo-label model.
    """
    if cache is None:
        raise ValueError("pseudo labels need a cache")
    from depthmask.pseudo_labels.labels import label_source  # late: torch, which nothing else here needs
    from depthmask.pseudo_labels.network import PseudoLabelModel

    model = PseudoLabelModel(model_folder, download.pseudo_labels)
    label_source(source, work / "labelled", model, cache)
    for _ in _gather(source.files(), source.root, work / "labelled", work):
        pass
    record = {"model": download.pseudo_labels.model, "revision": model_folder.revision, "gives": model.gives, **model.identity}
    return source.skipped, record


def _warn_of(pseudo_labels: dict) -> str:
    return (
        f"depth maps are predictions of {pseudo_labels['model']} ({pseudo_labels['gives']}), not measurements: depth scores say"
        " how close a network comes to them"
    )


def _gather(files: list[Path], root: Path, target: Path, work: Path) -> Iterator[str]:
    """Put the source's files into `target`, moving those in `work` and copying the user's own; yield each name."""
    ours = {folder: folder.resolve().is_relative_to(work.resolve()) for folder in {file.parent for file in files}}
    require_space(work, sum(file.stat().st_size for file in files if not ours[file.parent]))
    for folder in ours:
        (target / folder.relative_to(root)).mkdir(parents=True, exist_ok=True)
    for file in track(files, "copying", "files"):
        name = file.relative_to(root)
        if ours[file.parent] and not file.is_symlink():
            file.rename(target / name)
        else:
            shutil.copyfile(file, target / name)
        yield name.as_posix()


def _put(result: Path, out: Path, old: Path) -> None:
    """Replace `out` by `result`; a kill in between leaves one of them or neither, never a mixture."""
    if out.exists():
        out.rename(old)
    result.rename(out)


@contextlib.contextmanager
def _work_beside(out: Path) -> Iterator[Path]:
    """An empty working folder on the same disk as `out`; leftovers of a killed run are removed.

    Raises:
        UserError: another process is working on the same `out`.
    """
    work = out.with_name(f".{out.name}.download.part")
    with hold_lock(work, refusal=f"{out}: another download into it is running; wait for it or stop it"):
        try:
            for left in work.iterdir():
                if left.name != LOCK:
                    shutil.rmtree(left)
            (work / "result").mkdir()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
