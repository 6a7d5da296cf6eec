"""http(s): Range requests that are resumed only where the server vouches that the file is the same (RFC 9110, 13 and 14)."""

from __future__ import annotations

import contextlib
import email.message
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from depthmask.base.credentials import identify, mask_secrets
from depthmask.base.errors import UserError
from depthmask.download.names import make_name
from depthmask.download.remote import CHUNK_BYTES, TIMEOUT_S, BrokenTransferError, Reply, find_title, is_page, read_page

WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)
NUMBER = re.compile(r"[0-9]{1,18}")  # of bytes or seconds; what is longer is no number of either
RANGE = re.compile(rf"bytes ({NUMBER.pattern})-({NUMBER.pattern})/({NUMBER.pattern}|\*)")
WHAT_TO_DO = {
    401: "it asks for a password; put it into ~/.netrc, or fetch the file yourself and set download.path",
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
    """A file behind an http(s) address.

    address: the one to ask, where `url` is but a name for it (env:NAME), since it is secret.
    """

    url: str
    path: str
    address: str | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """The address; of a secret one what another signature does not change."""
        return self.url if self.address in (None, self.url) else f"{self.url} {identify(self.address)}"

    @contextlib.contextmanager
    def read_from(self, start: int, version: str | None) -> Iterator[Reply]:
        with open_reply(self.address or self.url, self.url, start, version, requests) as reply:
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
    with translate_errors(shown), session.get(address, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing lies behind `start`: what is there cannot be this file's beginning
            raise BrokenTransferError(f"{shown}: has no byte {start}", start_over=True)
        _require_success(response, shown)
        first, chunks = _peek(read_chunks(response))
        at, num_bytes = _find_range(response, start, shown)
        if at == 0 and is_page(response.headers.get("Content-Type", ""), first):
            page = read_page(chunks)
            raise PageError(
                f"{shown}: a web page came ('{find_title(page)}') where an archive was expected; open the address in a browser"
                " and give the address of the file itself",
                page,
            )
        yield Reply(at, num_bytes, _find_version(response), _find_name(response), chunks)


def read_chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it was sent, never unpacked: what is small when sent stays small.

    Not `raw.stream`, whose reading of chunked bodies takes a line of any length into memory.
    """
    while chunk := response.raw.read(CHUNK_BYTES, decode_content=False):
        yield chunk


@contextlib.contextmanager
def translate_errors(shown: str) -> Iterator[None]:
    """Turn what requests raises into the two failures that a transport has."""
    try:
        yield
    except (requests.exceptions.SSLError, requests.exceptions.TooManyRedirects) as error:
        raise UserError(f"{shown}: {_shorten(error)}; correct the address") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
        raise UserError(f"{shown}: is not an address ({_shorten(error)}); correct download.urls") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise BrokenTransferError(f"{shown}: {_shorten(error)}") from error
    except ValueError as error:  # of the standard library: an address or a number in the answer that is malformed
        raise UserError(f"{shown}: the server's answer is malformed ({_shorten(error)}); correct the address") from error


def _require_success(response: requests.Response, shown: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in WORTH_ANOTHER_ATTEMPT:
        wish = response.headers.get("Retry-After", "")
        raise BrokenTransferError(f"{shown}: the server answered {status}", float(wish) if NUMBER.fullmatch(wish) else None)
    raise UserError(f"{shown}: the server answered {status}: {WHAT_TO_DO.get(status, 'correct download.urls')}")


def _find_range(response: requests.Response, asked: int, shown: str) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's size."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if NUMBER.fullmatch(length) else None
    match = RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != asked:
        raise BrokenTransferError(f"{shown}: asked for byte {asked}, the server sends others", start_over=True)
    return asked, None if match[3] == "*" else int(match[3])


def _find_version(response: requests.Response) -> str | None:
    """A strong ETag, or the date; a weak ETag does not promise the same bytes and must not be used to resume."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _find_name(response: requests.Response) -> str:
    """What the server calls the file, as a file name."""
    header = email.message.Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    try:
        named = header.get_filename()
    except (ValueError, LookupError, TypeError, AttributeError):  # the parser's answers to a header that is malformed
        named = None
    return make_name(named or unquote(urlsplit(response.url).path))


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first chunk, and an iterator that still yields it."""
    first = next(chunks, b"")
    return first, itertools.chain([first], chunks)


def _shorten(error: Exception) -> str:
    """The innermost reason: requests wraps urllib3's errors, which wrap the system's."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return mask_secrets(" ".join(str(reason or error).split()))[:160] or type(error).__name__
