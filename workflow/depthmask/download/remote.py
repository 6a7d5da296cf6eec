"""The interface of a transport: the bytes of one remote file from a given position, and two kinds of failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1 << 18
TIMEOUT_S = (10, 60)  # to connect, and between two reads
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|title|body)\b", re.I | re.S)
PAGE_BYTES_MAX, TITLE_WITHIN = 1 << 20, 10_000


class BrokenTransferError(Exception):
    """The transfer ended early or never began, and may work if retried.

    retry_after_s: as requested by the server; start_over: what has arrived is useless, start from scratch.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, start_over: bool = False):
        super().__init__(message)
        self.retry_after_s, self.start_over = retry_after_s, start_over


@dataclass(frozen=True)
class Reply:
    """The server's reply for a file.

    start: position of the first byte; 0 if the server cannot resume, or the file has changed.
    num_bytes: size of the whole file as stated by the server, or None.
    version: the server's identifier of this version of the file; None: the transfer cannot be resumed.
    name: the server's name for the file.
    """

    start: int
    num_bytes: int | None
    version: str | None
    name: str
    chunks: Iterator[bytes]


class RemoteFile(Protocol):
    """One file at a URL.

    url: its name in messages and records. path: within its folder. identity: its key in the cache.
    """

    url: str
    path: str

    @property
    def identity(self) -> str: ...

    def read_from(self, start: int, version: str | None) -> AbstractContextManager[Reply]:
        """Open the file at `start` if it is still `version`, else at 0; `start` is 0 if `version` is None.

        Raises:
            BrokenTransferError: worth another attempt.
            UserError: not worth another attempt; says why.
        """
        ...


def is_page(content_type: str, first_bytes: bytes) -> bool:
    """Whether a response is a web page, judged by its first bytes if there are any."""
    if first_bytes:
        return PAGE.match(first_bytes) is not None
    return content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def read_page(chunks: Iterator[bytes], num_bytes_max: int = PAGE_BYTES_MAX) -> str:
    """The text of a page, up to `num_bytes_max` plus one chunk."""
    page = bytearray()
    for chunk in chunks:
        page += chunk
        if len(page) >= num_bytes_max:
            break
    return page.decode("utf-8", "replace")


def find_title(page: str) -> str:
    """A page's title, or its first words."""
    page = page[:TITLE_WITHIN]  # a longer, malicious one would keep the patterns busy for hours
    match = re.search(r"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    text = match[1] if match else re.sub(r"<[^>]*>", " ", page)
    return " ".join(text.split())[:80]
