"""Opens the data that params.yaml names where they are: a folder in place, an archive unpacked for as long as it is read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.download.collect import collect
from depthmask.download.places import Places
from depthmask.params import DownloadParams, Params
from depthmask.params.mixture import key_sources, list_sources
from depthmask.params.other_sets import key_other_sets
from depthmask.registry.sources import SOURCES
from depthmask.sources import RECORD, Source, find_source_class, read_record


def list_declared(download: DownloadParams, raw: Path, more: Path) -> list[tuple[str, DownloadParams, Path]]:
    """Each source that the section `download` declares: its key, its declaration and the folder of its download stage.

    raw: of the first source. more: the folder that has those of further ones, by name.
    """
    folders = [raw if number == 0 else more / name for number, name in enumerate(list_sources(download))]
    return [(key, source, folder) for (key, source), folder in zip(key_sources(download).items(), folders, strict=True)]


def list_others(params: Params, others: Path) -> list[tuple[str, DownloadParams, Path]]:
    """The same of each set in `evaluate.more`; others: the folder that has one for each of them."""
    folders = [others / name / "raw" for name in params.evaluate.more]
    return [(key, source, folder) for (key, source), folder in zip(key_other_sets(params).items(), folders, strict=True)]


@contextlib.contextmanager
def open_data(download: DownloadParams, raw: Path) -> Iterator[tuple[Source, str, Callable[[str], str]]]:
    """The source, where it is read from, and what makes messages name archives instead of a working folder.

    Bad samples are listed in the source's `skipped` whatever `on_bad_sample` says. raw: folder of the download stage, used for
    what has to be fetched.

    Raises:
        UserError: there is nothing to read yet, or the files do not fit the layout.
    """
    listing = download.model_copy(update={"on_bad_sample": "skip"})
    if not download.urls and download.source in SOURCES:
        with tempfile.TemporaryDirectory(prefix="depthmask-check-") as work, Places(Path(work, "unpacked")) as places:
            root, _ = collect(download, places, cache=None)
            yield find_source_class(download.source)(root, listing), download.path, places.explain
        return
    record = read_record(raw, "download") if (raw / RECORD).is_file() else None
    if record is None or (record["download"]["path"], record["download"]["urls"]) != (download.path, download.urls):
        what = download.urls[0] if download.urls else download.source
        raise UserError(f"{what}: not fetched yet, so there is nothing to read; run the download stages first: dvc repro pack")
    layout = record["download"]["source"]
    yield find_source_class(layout)(raw, listing.model_copy(update={"source": layout})), str(raw), str
