"""http(s) with Range requests, resumed only if the server confirms that the file is unchanged (RFC 9110, 13 and 14)."""

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
from depthmask.download.remote import (
    CHUNK_BYTES,
    NUMBER,
    TIMEOUT_S,
    BrokenTransferError,
    Reply,
    find_title,
    is_page,
    parse_retry_after,
    read_page,
)

WORTH_ANOTHER_ATTEMPT = (408, 425, 429, 500, 502, 503, 504)
RANGE = re.compile(rf"bytes ({NUMBER.pattern})-({NUMBER.pattern})/({NUMBER.pattern}|\*)")
WHAT_TO_DO = {
    401: "password required; put it into ~/.netrc, or fetch the file yourself and set its path",
    403: "access denied; fetch the file yourself and set its path",
    404: "no such file; correct the address",
    410: "the file was removed; correct the address",
}


class PageError(UserError):
    """The server sent a web page instead of a file; page: its text."""

    def __init__(self, message: str, page: str):
        super().__init__(message)
        self.page = page


@dataclass(frozen=True)
class HttpFile:
    """A file at an http(s) URL.

    address: the URL to request, if `url` is only a name for it: env:NAME, because it is secret, or hf://. token: sent as a bearer
    token to that server alone.
    """

    url: str
    path: str
    address: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """The URL; for a secret one, the part that does not depend on the signature."""
        return self.url if self.address in (None, self.url) else f"{self.url} {identify(self.address)}"

    @contextlib.contextmanager
    def read_from(self, start: int, version: str | None) -> Iterator[Reply]:
        with requests.Session() as session:
            if self.token is not None:
                session.headers["Authorization"] = f"Bearer {self.token}"  # requests drops it when redirected to another server
            with open_reply(self.address or self.url, self.url, start, version, session) as reply:
                yield reply


@contextlib.contextmanager
def open_reply(address: str, shown: str, start: int, version: str | None, session: requests.Session) -> Iterator[Reply]:
    """Request `address`, called `shown` in messages.

    Raises:
        PageError: the server sent a web page.
        BrokenTransferError, UserError: as RemoteFile.read_from.
    """
    headers = {"Accept-Encoding": "identity"}  # so that positions refer to the stored bytes
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    with translate_errors(shown), session.get(address, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing after `start`: the local bytes cannot be this file's beginning
            raise BrokenTransferError(f"{shown}: has no byte {start}", start_over=True)
        _require_success(response, shown)
        first, chunks = _peek(read_chunks(response))
        at, num_bytes = _find_range(response, start, shown)
        if at == 0 and is_page(response.headers.get("Content-Type", ""), first):
            page = read_page(chunks)
            raise PageError(
                f"{shown}: the server sent a web page ('{find_title(page)}') instead of a file; open the address in a browser"
                " and use the address of the file itself",
                page,
            )
        yield Reply(at, num_bytes, _find_version(response), _find_name(response), chunks)


def read_chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as sent, never decompressed: what is small in transit stays small.

    Not `raw.stream`, which reads chunk-header lines of any length into memory.
    """
    while chunk := response.raw.read(CHUNK_BYTES, decode_content=False):
        yield chunk


@contextlib.contextmanager
def translate_errors(shown: str) -> Iterator[None]:
    """Turn exceptions from requests into the two failures of a transport."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise UserError(
            f"{shown}: {_shorten(error)}; correct the address, or name the certificate of a proxy in REQUESTS_CA_BUNDLE"
        ) from error
    except requests.exceptions.TooManyRedirects as error:
        raise UserError(f"{shown}: {_shorten(error)}; correct the address") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
        raise UserError(f"{shown}: is not a valid address ({_shorten(error)}); correct the address") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise BrokenTransferError(f"{shown}: {_shorten(error)}", unreachable=_is_unreachable(error)) from error
    except ValueError as error:  # from the standard library: a malformed URL or number in the response
        raise UserError(f"{shown}: the server's response is malformed ({_shorten(error)}); correct the address") from error


def _require_success(response: requests.Response, shown: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in WORTH_ANOTHER_ATTEMPT:
        wish_s = parse_retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
        raise BrokenTransferError(f"{shown}: the server responded {status}", wish_s)
    raise UserError(f"{shown}: the server responded {status}: {WHAT_TO_DO.get(status, 'correct the address')}")


def _find_range(response: requests.Response, asked: int, shown: str) -> tuple[int, int | None]:
    """The body's position in the file, and the file's size."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if NUMBER.fullmatch(length) else None
    match = RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != asked:
        raise BrokenTransferError(f"{shown}: asked for byte {asked}, but the server sent others", start_over=True)
    return asked, None if match[3] == "*" else int(match[3])


def _find_version(response: requests.Response) -> str | None:
    """A strong ETag, or the date; a weak ETag does not guarantee identical bytes and must not be used to resume."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _find_name(response: requests.Response) -> str:
    """The server's name for the file, sanitised."""
    header = email.message.Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    try:
        named = header.get_filename()
    except (ValueError, LookupError, TypeError, AttributeError):  # what the parser raises for a malformed header
        named = None
    return make_name(named or unquote(urlsplit(response.url).path))


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first chunk, and an iterator that still yields it."""
    first = next(chunks, b"")
    return first, itertools.chain([first], chunks)


def _is_unreachable(error: Exception) -> bool:
    """Whether there was no connection: no name server, no route, nobody listening, or a proxy that does not let it through."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _shorten(error: Exception) -> str:
    """The innermost reason: requests wraps urllib3 errors, which wrap system errors."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return mask_secrets(" ".join(str(reason or error).split()))[:160] or type(error).__name__
