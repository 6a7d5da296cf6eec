"""What a transport offers: the bytes of one remote file from a position on, and two kinds of failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1 << 18
TIMEOUT_S = (10, 60)  # to connect, and between two bytes
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|title|body)\b", re.I | re.S)
PAGE_BYTES_MAX, TITLE_WITHIN = 1 << 20, 10_000


class BrokenTransferError(Exception):
    """The transfer ended early or never began, and may work if tried again.

    retry_after_s: the server's wish; start_over: what has arrived is of no use, start from scratch.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, start_over: bool = False):
        super().__init__(message)
        self.retry_after_s, self.start_over = retry_after_s, start_over


@dataclass(frozen=True)
class Reply:
    """What a server sends of a file.

    start: position of the first byte; 0 where the server cannot resume, or where the file is another than before.
    num_bytes: size of the whole file as the server states it; None where it does not.
    version: what the server calls this version of the file; None where it does not: such a file cannot be resumed.
    name: what the server calls the file.
    """

    start: int
    num_bytes: int | None
    version: str | None
    name: str
    chunks: Iterator[bytes]


class RemoteFile(Protocol):
    """One file behind an address.

    url: names it in messages and records. path: its place within a folder. identity: names it in the cache.
    """

    url: str
    path: str

    @property
    def identity(self) -> str: ...

    def read_from(self, start: int, version: str | None) -> AbstractContextManager[Reply]:
        """Open the file at `start` if it is still `version`, at 0 if not; `start` is 0 where `version` is None.

        Raises:
            BrokenTransferError: worth another attempt.
            UserError: it is not, and says why.
        """
        ...


def is_page(content_type: str, first_bytes: bytes) -> bool:
    """Whether what a server sends is a web page; the first bytes decide where there are any."""
    if first_bytes:
        return PAGE.match(first_bytes) is not None
    return content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def read_page(chunks: Iterator[bytes], num_bytes_max: int = PAGE_BYTES_MAX) -> str:
    """The text of a page, as far as it is needed to see what it says: up to `num_bytes_max` and one chunk more."""
    page = bytearray()
    for chunk in chunks:
        page += chunk
        if len(page) >= num_bytes_max:
            break
    return page.decode("utf-8", "replace")


def find_title(page: str) -> str:
    """A page's title, or its first words."""
    page = page[:TITLE_WITHIN]  # a longer one, made to that end, would keep the patterns busy for hours
    match = re.search(r"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    text = match[1] if match else re.sub(r"<[^>]*>", " ", page)
    return " ".join(text.split())[:80]
