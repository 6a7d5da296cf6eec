"""http(s): Range requests that are resumed only where the server vouches that the file is the same (RFC 9110, 13 and 14)."""

from __future__ import annotations

import contextlib
import email.message
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from depthmask.download.remote import CHUNK_BYTES, TIMEOUT_S, BrokenTransferError, Reply, find_title, is_page, read_page
from depthmask.errors import UserError

WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)
WHAT_TO_DO = {
    401: "it asks for a password; fetch the file yourself and set download.path",
    403: "access is refused; fetch the file yourself and set download.path",
    404: "there is no such file; correct download.urls",
    410: "the file was removed; correct download.urls",
}


class PageError(UserError):
    """A web page came where a file was asked for; `page` is its text."""

    def __init__(self, message: str, page: str):
        super().__init__(message)
        self.page = page


@dataclass(frozen=True)
class HttpFile:
    """A file behind an http(s) address."""

    url: str
    path: str

    @contextlib.contextmanager
    def read_from(self, start: int, version: str | None) -> Iterator[Reply]:
        with open_reply(self.url, self.url, start, version, requests) as reply:
            yield reply


@contextlib.contextmanager
def open_reply(address: str, shown: str, start: int, version: str | None, session) -> Iterator[Reply]:
    """Ask for `address`; `shown` is what messages call it; session: a requests.Session, or requests itself.

    Raises:
        PageError: a web page came.
        BrokenTransferError, UserError: as RemoteFile.read_from.
    """
    headers = {"Accept-Encoding": "identity"}  # positions are those of the stored bytes
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    with tell_breaks(shown), session.get(address, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing lies behind `start`: what is there cannot be this file's beginning
            raise BrokenTransferError(f"{shown}: has no byte {start}", start_over=True)
        _require_success(response, shown)
        first, chunks = _peek(response.raw.stream(CHUNK_BYTES, decode_content=False))
        at, num_bytes = _find_range(response, start)
        if at == 0 and is_page(response.headers.get("Content-Type", ""), first):
            page = read_page(chunks)
            raise PageError(
                f"{shown}: a web page came ('{find_title(page)}') where an archive was expected; open the address in a browser"
                " and give the address of the file itself",
                page,
            )
        yield Reply(at, num_bytes, _find_version(response), _find_name(response), chunks)


@contextlib.contextmanager
def tell_breaks(shown: str) -> Iterator[None]:
    """Turn what requests raises into the two failures that a transport has."""
    try:
        yield
    except (requests.exceptions.SSLError, requests.exceptions.TooManyRedirects) as error:
        raise UserError(f"{shown}: {_shorten(error)}; correct the address") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
        raise UserError(f"{shown}: is not an address ({_shorten(error)}); correct download.urls") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise BrokenTransferError(f"{shown}: {_shorten(error)}") from error


def _require_success(response: requests.Response, shown: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in WORTH_ANOTHER_ATTEMPT:
        wish = response.headers.get("Retry-After", "")
        raise BrokenTransferError(f"{shown}: the server answered {status}", float(wish) if wish.isdigit() else None)
    raise UserError(f"{shown}: the server answered {status}: {WHAT_TO_DO.get(status, 'correct download.urls')}")


def _find_range(response: requests.Response, asked: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's size."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != asked:
        raise BrokenTransferError(f"{response.url}: asked for byte {asked}, the server sends others", start_over=True)
    return asked, None if match[3] == "*" else int(match[3])


def _find_version(response: requests.Response) -> str | None:
    """A strong ETag, or the date; a weak ETag does not promise the same bytes and must not be used to resume."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _find_name(response: requests.Response) -> str:
    header = email.message.Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    return header.get_filename() or unquote(urlsplit(response.url).path.rpartition("/")[2])


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first chunk, and an iterator that still yields it."""
    first = next(chunks, b"")
    return first, itertools.chain([first], chunks)


def _shorten(error: Exception) -> str:
    """The innermost reason: requests wraps urllib3's errors, which wrap the system's."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error).split())[:160] or type(error).__name__
