"""Google Drive: files and folders shared with anyone who has the link, and the pages it sends instead of a file.

The first response for a large file is a page saying that it cannot be scanned for viruses, with a form that leads to the file.
A file over its download quota is also a page, with status 200: only its text distinguishes it from data.
"""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from depthmask.base.errors import UserError
from depthmask.download.http import PageError, open_reply, read_chunks, translate_errors
from depthmask.download.remote import TIMEOUT_S, BrokenTransferError, Reply, advise_offline, find_title, read_page

HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
FILE_ADDRESS = "https://drive.usercontent.google.com/download"
FOLDER_ADDRESS = "https://drive.google.com/embeddedfolderview"
FOLDERS_MAX = 1000
LISTING_BYTES_MAX = 32 << 20

QUOTA = ("too many users have viewed or downloaded", "quota exceeded", "download quota")
NOT_SHARED = ("accounts.google.com", "servicelogin", "you need access", "request access", "access denied")
GONE = ("404", "not found", "has been deleted", "in violation of")


@dataclass(frozen=True)
class DriveFile:
    """A file by its ID. path: within the requested folder."""

    url: str
    path: str
    identifier: str

    @property
    def identity(self) -> str:
        return self.url

    @contextlib.contextmanager
    def read_from(self, start: int, version: str | None) -> Iterator[Reply]:
        address = f"{FILE_ADDRESS}?{urlencode({'id': self.identifier, 'export': 'download', 'confirm': 't'})}"
        with contextlib.ExitStack() as stack:
            session = stack.enter_context(requests.Session())
            try:
                reply = stack.enter_context(open_reply(address, self.url, start, version, session))
            except PageError as page:
                confirmed = self._find_way_on(page.page)
                try:
                    reply = stack.enter_context(open_reply(confirmed, self.url, start, version, session))
                except PageError as second:
                    raise UserError(explain_page(self.url, second.page)) from second
            yield reply

    def _find_way_on(self, page: str) -> str:
        """The URL of the form on the virus-scan page; UserError for any other page."""
        form = _DownloadForm()
        form.feed(page)
        if form.action is None:
            raise UserError(explain_page(self.url, page))
        host = urlsplit(form.action).hostname or ""
        if host not in (*HOSTS, urlsplit(FILE_ADDRESS).hostname):
            raise UserError(f"{self.url}: its page leads to {host}, which is not Google Drive; fetch the file with a browser")
        return f"{form.action}?{urlencode(form.fields)}"


def explain_page(url: str, page: str) -> str:
    """What a Google Drive page that came instead of the file means, in one line."""
    text = html.unescape(page).lower()
    if any(words in text for words in QUOTA):
        return (
            f"{url}: Google Drive's quota for this file is exhausted (too many downloads);"
            " try again in 24 hours, or copy the file to your own Drive and use the copy's link"
        )
    if "scan this file for viruses" in text or "virus scan warning" in text:
        return (
            f"{url}: Google Drive cannot scan this file for viruses and its page has no download form;"
            " fetch the file with a browser"
        )
    if any(words in text for words in NOT_SHARED):
        return f"{url}: Google Drive asks for a login; share it with 'anyone with the link', or fetch it with a browser"
    if any(words in text for words in GONE):
        return f"{url}: Google Drive has no such file; correct the address"
    return f"{url}: Google Drive sent a page ('{find_title(page)}') instead of the file; open the link in a browser to see why"


def is_drive(url: str) -> bool:
    """Whether a URL is on Google Drive."""
    return urlsplit(url).hostname in HOSTS


def find_drive_files(url: str) -> list[DriveFile]:
    """The file of a link, or all files in a folder and its subfolders, sorted by path.

    Raises:
        UserError: the link names neither, or the folder cannot be listed.
    """
    parts = urlsplit(url)
    folder = re.search(r"/folders/([\w-]+)", parts.path)
    if folder:
        return sorted(_list_folder(url, folder[1]), key=lambda file: file.path)
    named = re.search(r"/file/(?:u/\d+/)?d/([\w-]+)", parts.path)
    identifier = named[1] if named else parse_qs(parts.query).get("id", [""])[0]
    if not re.fullmatch(r"[\w-]+", identifier):
        raise UserError(
            f"{url}: is not a link to a Google Drive file or folder; allowed: .../file/d/ID/view, .../drive/folders/ID"
        )
    return [DriveFile(url, identifier, identifier)]


def _list_folder(url: str, identifier: str) -> Iterator[DriveFile]:
    waiting, seen = [(identifier, PurePosixPath())], set()
    while waiting:
        identifier, place = waiting.pop()
        if identifier in seen:
            continue
        seen.add(identifier)
        if len(seen) > FOLDERS_MAX:
            raise UserError(f"{url}: more than {FOLDERS_MAX} folders; put the files into an archive")
        for entry in _read_folder_page(url, identifier):
            path = place / re.sub(r"[/\\\x00]", "_", entry.name)
            if entry.is_folder:
                waiting.append((entry.identifier, path))
            else:
                link = f"https://drive.google.com/file/d/{entry.identifier}/view"
                yield DriveFile(link, path.as_posix(), entry.identifier)


@dataclass
class _Entry:
    identifier: str
    is_folder: bool
    name: str = ""


def _read_folder_page(url: str, identifier: str) -> list[_Entry]:
    try:
        asked = {"params": {"id": identifier}, "headers": {"Accept-Encoding": "identity"}, "timeout": TIMEOUT_S, "stream": True}
        with translate_errors(url), requests.get(FOLDER_ADDRESS, **asked) as response:
            page = read_page(read_chunks(response), LISTING_BYTES_MAX)
    except BrokenTransferError as error:
        raise UserError(f"{error}; try again", hint=advise_offline() if error.unreachable else None) from error
    if len(page) >= LISTING_BYTES_MAX:
        raise UserError(f"{url}: its list of files is larger than {LISTING_BYTES_MAX >> 20} MB; put the files into an archive")
    status = response.status_code
    listing = _FolderListing()
    listing.feed(page)
    if status != 200 or not listing.entries:
        if status == 200 and "flip-" in page:
            raise UserError(f"{url}: empty folder; correct the address")
        raise UserError(explain_page(url, page if status != 404 else "404"))
    return listing.entries


class _FolderListing(HTMLParser):
    """Parses a folder's embedded view: a link to each file or folder, followed by an element with its title."""

    def __init__(self):
        super().__init__()
        self.entries: list[_Entry] = []
        self._depth_in_title = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._depth_in_title:
            self._depth_in_title += 1
        values = dict(attrs)
        match = re.search(r"/(folders|d)/([\w-]+)", values.get("href") or "") if tag == "a" else None
        if match:
            self.entries.append(_Entry(match[2], match[1] == "folders"))
        if "flip-entry-title" in (values.get("class") or "").split() and self.entries:
            self._depth_in_title = 1

    def handle_endtag(self, tag: str) -> None:
        self._depth_in_title = max(0, self._depth_in_title - 1)

    def handle_data(self, data: str) -> None:
        if self._depth_in_title:
            self.entries[-1].name += data


class _DownloadForm(HTMLParser):
    """Parses the form with the id download-form and its hidden fields."""

    def __init__(self):
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and values.get("id") == "download-form":
            self.action, self._inside = values.get("action"), True
        elif tag == "input" and self._inside and values.get("name"):
            self.fields[values["name"]] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"
