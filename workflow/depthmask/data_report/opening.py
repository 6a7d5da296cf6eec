"""Opens the data that params.yaml names where they are: a folder in place, an archive unpacked for as long as it is read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.download.collect import collect
from depthmask.params import DownloadParams
from depthmask.registry.sources import SOURCES
from depthmask.sources import RECORD, Source, find_source_class, read_record


@contextlib.contextmanager
def open_data(download: DownloadParams, raw: Path) -> Iterator[tuple[Source, str]]:
    """The source, and where it is read from; bad samples are listed in its `skipped` whatever `on_bad_sample` says.

    raw: folder of the download stage, used for what has to be fetched.

    Raises:
        UserError: there is nothing to read yet, or the files do not fit the layout.
    """
    listing = download.model_copy(update={"on_bad_sample": "skip"})
    if not download.urls and download.source in SOURCES:
        with tempfile.TemporaryDirectory(prefix="depthmask-check-") as work:
            root, _ = collect(download, Path(work, "unpacked"), cache=None)
            yield find_source_class(download.source)(root, listing), download.path
        return
    if not (raw / RECORD).is_file() or not _is_of(read_record(raw, "download")["download"], download):
        what = download.urls[0] if download.urls else download.source
        raise UserError(f"{what}: not fetched yet, so there is nothing to read; run the download stage first: dvc repro download")
    layout = read_record(raw, "download")["download"]["source"]
    yield find_source_class(layout)(raw, listing.model_copy(update={"source": layout, "urls": []})), str(raw)


def _is_of(fetched: dict, download: DownloadParams) -> bool:
    """Whether what was fetched is what params.yaml names; how it is to be read may have changed since."""
    return fetched["path"] == download.path and (fetched["urls"] == download.urls or not download.urls)
