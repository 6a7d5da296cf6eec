"""From a folder, archives or URLs to a complete, checked copy in the project."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from depthmask.base.credentials import mask_values
from depthmask.base.errors import UserError
from depthmask.base.files import LOCK, hash_file, hash_json, hold_lock, write_json
from depthmask.base.terminal import track
from depthmask.catalog.named_sets import NamedSet, find_set
from depthmask.download.collect import collect, list_unused
from depthmask.download.names import join_inside
from depthmask.download.places import Places
from depthmask.download.space import require_space
from depthmask.params import DownloadParams
from depthmask.params.mixture import name_keys, strip_source
from depthmask.registry.sources import SOURCES
from depthmask.sources import RECORD, Source, find_source_class
from depthmask.sources.unread import describe_unread

if TYPE_CHECKING:
    from depthmask.catalog.model_folder import ModelFolder


def fetch(download: DownloadParams, out: Path, cache: Path | None = None, key: str = "download") -> dict:
    """Copy the source into `out`, completely or not at all, and return the record written beside it.

    cache: folder for fetched files and pseudo labels; needed if there are any. key: of the source in params.yaml, for messages.

    Raises:
        UserError: something is missing, rejected or damaged, a sha256 differs, or the files do not fit the layout.
    """
    download = strip_source(download)  # a record says how to read this source, not what it is mixed with
    with name_keys(key) as rename, _work_beside(out) as work, Places(work / "unpacked") as places:
        named = None
        if download.source not in SOURCES:
            named = find_set(Path(download.path), download.source, SOURCES)
            download = _resolve(download, named)
        model_folder = _find_model_folder(download)
        root, archives = collect(download, places, cache, exact=named is not None and bool(named.folders))
        if named is not None:
            _arrange(root, named, places)
        source, skipped, pseudo_labels = find_source_class(download.source)(root, download), [], None
        unread = describe_unread(root, source.list_folders(), source.expected_folders)
        unused = list_unused(archives, source.files(), places, download.source)
        if model_folder is not None:
            skipped, pseudo_labels = _label(source, download, model_folder, work, cache)
            root = work / "labelled"
            source = find_source_class(download.source)(root, download)
        num_keys = len(source.backgrounds) + len(source.cutouts) + len(source.composites)
        for _ in track(source.check(), "checking", "images", num_keys):
            pass
        warnings = [rename(line) for line in unused + [places.explain(line) for line in source.warnings]]
        skipped = [entry | {"reason": rename(entry["reason"])} for entry in skipped + source.skipped]
        warnings += [_warn_of(pseudo_labels)] if pseudo_labels else []
        names = {name: hash_file(work / "result" / name) for name in _gather(source.files(), root, work / "result", work)}
        record = {
            "download": download.model_dump(),
            "set": {"name": named.name, "licence": named.licence, "citation": named.citation} if named else None,
            "num_files": len(names),
            "sha256": hash_json(names),
            "archives": archives,
            "pseudo_labels": pseudo_labels,
            "skipped": skipped,
            "warnings": warnings,
            "unread": [rename(places.explain(line)) for line in unread],
        }
        record = mask_values(record)
        write_json(work / "result" / RECORD, record)
        _put(work / "result", out, work / "old")
    return record


def _resolve(download: DownloadParams, named: NamedSet) -> DownloadParams:
    """The params that a named set stands for; depth and numbering are kept."""
    urls = [url if sha256 is None else f"{url}#sha256={sha256}" for url, sha256 in zip(named.urls, named.sha256s, strict=True)]
    return download.model_copy(update={"source": named.layout, "urls": urls})


def _arrange(root: Path, named: NamedSet, places: Places) -> None:
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
        places.follow(source, root / name)


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
