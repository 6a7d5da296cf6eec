"""The interface of a transport: the bytes of one remote file from a given position, and two kinds of failure."""

from __future__ import annotations

import email.utils
import platform
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC
from typing import Protocol

NUMBER = re.compile(r"[0-9]{1,18}")  # of bytes or seconds; anything longer is neither
DATE_LENGTH_MAX = 64
CHUNK_BYTES = 1 << 18
TIMEOUT_S = (10, 60)  # to connect, and between two reads
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|title|body)\b", re.I | re.S)
PAGE_BYTES_MAX, TITLE_WITHIN = 1 << 20, 10_000


class BrokenTransferError(Exception):
    """The transfer ended early or never began, and may work if retried.

    retry_after_s: as requested by the server; start_over: what has arrived is useless, start from scratch; unreachable: there was
    no connection to the server, as on a machine without internet access.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, *, start_over: bool = False, unreachable: bool = False):
        super().__init__(message)
        self.retry_after_s, self.start_over, self.unreachable = retry_after_s, start_over, unreachable


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


def advise_offline() -> str:
    """The hint that follows an error without any connection; names this machine."""
    return (
        f"if {platform.node()} has no internet access, run the stage that fetches it where there is some, on a cluster the login"
        " node (dvc repro download, or snakemake --cores 1 --until download); behind a proxy, set HTTPS_PROXY"
    )


def parse_retry_after(wish: str, now: str = "") -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as an HTTP date (RFC 9110, 10.2.3); None if it is neither.

    now: the same reply's Date header. A date is compared with it, as both are by the server's clock; else with this machine's.
    A past date also gives None. There is no upper limit.
    """
    if NUMBER.fullmatch(wish):
        return float(wish)
    until = _parse_date(wish)
    if until is None:
        return None
    from_s = _parse_date(now)
    seconds = until - (time.time() if from_s is None else from_s)
    return seconds if seconds > 0 else None


def _parse_date(text: str) -> float | None:
    """An HTTP date, in any of its three formats, as seconds since 1970; None if it is not one."""
    if len(text) > DATE_LENGTH_MAX:
        return None
    try:
        date = email.utils.parsedate_to_datetime(text)
        # of the three formats, asctime's has no time zone; all three are in GMT
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # what the parser raises for a malformed date
        return None


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
