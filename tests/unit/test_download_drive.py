"""Google Drive's answers, imitated on loopback: files, the page on viruses, the quota page, a login, folders."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.download import drive
from depthmask.download.addresses import find_files
from depthmask.download.cache import fetch_into_cache

BODY = b"PK\x03\x04" + bytes(range(256)) * 40

QUOTA = """<html><head><title>Google Drive - Quota exceeded</title></head><body><p class="uc-error-caption">Sorry, you can&#39;t
view or download this file at this time.</p><p class="uc-error-subcaption">Too many users have viewed or downloaded this file
recently. Please try accessing the file again later.</p></body></html>"""
LOGIN = '<html><body><form action="https://accounts.google.com/ServiceLogin"></form></body></html>'
VIRUS = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="0f1e"></form></body></html>"""
ENTRY = """<div class="flip-entry" id="entry-{id}"><div class="flip-entry-info"><a href="{link}" target="_blank">
<div class="flip-entry-visual"><img src="x.png"/></div><div class="flip-entry-title">{name}</div></a></div></div>"""
FILE_LINK, FOLDER_LINK = "https://drive.google.com/file/d/{}/view?usp=drive_web", "https://drive.google.com/drive/folders/{}"


def answer_file(address):
    asked = {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}
    page = {"Content-Type": "text/html; charset=utf-8"}
    if asked["id"] == "quota":
        return 200, page, QUOTA.encode()
    if asked["id"] == "private":
        return 200, page, LOGIN.encode()
    if asked["id"] == "large" and "uuid" not in asked:
        return 200, page, VIRUS.format(action=drive.FILE_ADDRESS, id="large").encode()
    if asked["id"] == "astray":
        return 200, page, VIRUS.format(action="https://example.org/take", id="astray").encode()
    if asked["id"] == "stuck":
        return 200, page, VIRUS.format(action=drive.FILE_ADDRESS, id="stuck").encode()
    name = {"Content-Type": "application/octet-stream", "Content-Disposition": 'attachment; filename="my set.zip"'}
    return 200, name, BODY


def answer_folder(address):
    identifier = parse_qs(urlsplit(address).query)["id"][0]
    entries = {
        "top": [("f1", FILE_LINK, "bg.zip"), ("sub", FOLDER_LINK, "parts &amp; more"), ("f0", FILE_LINK, "a.jpg")],
        "sub": [("f2", FILE_LINK, "fg.zip"), ("top", FOLDER_LINK, "circle")],
        "bad": [("f3", FILE_LINK, "..")],
        "empty": [],
    }.get(identifier)
    if entries is None:
        return 404, {"Content-Type": "text/html"}, b"<html>not found</html>"
    listed = "".join(ENTRY.format(id=id_, link=link.format(id_), name=name) for id_, link, name in entries)
    return 200, {"Content-Type": "text/html"}, f'<html><div class="flip-entries">{listed}</div></html>'.encode()


@pytest.fixture(autouse=True)
def server(monkeypatch):
    with run_server() as running:
        monkeypatch.setattr(drive, "FILE_ADDRESS", running.serve("/download", answer=answer_file))
        monkeypatch.setattr(drive, "FOLDER_ADDRESS", running.serve("/folder", answer=answer_folder))
        yield running


@pytest.mark.parametrize("identifier", ["small", "large"])
@pytest.mark.parametrize("form", ["https://drive.google.com/file/d/{}/view?usp=sharing", "https://drive.google.com/uc?id={}"])
def test_a_file_comes_whole_with_and_without_the_page_on_viruses(tmp_path, identifier, form):
    (file,) = find_files(form.format(identifier))
    cached = fetch_into_cache(tmp_path, file, None)
    assert cached.path.read_bytes() == BODY
    assert cached.name == "my set.zip"


@pytest.mark.parametrize(
    ("identifier", "why"),
    [
        ("quota", "quota for this file is exhausted"),
        ("private", "asks for a login"),
        ("astray", "leads to example.org, which is not Google Drive"),
        ("stuck", "cannot scan this file for viruses and its page has no download form"),
    ],
)
def test_a_page_is_distinguished_from_data_and_from_other_pages(tmp_path, server, identifier, why):
    (file,) = find_files(f"https://drive.google.com/open?id={identifier}")
    with pytest.raises(UserError, match=why):
        fetch_into_cache(tmp_path, file, None)
    assert len(server.asked) <= 2
    assert not list(tmp_path.rglob("part"))


def test_a_folder_is_listed_with_the_folders_in_it():
    files = find_files("https://drive.google.com/drive/folders/top?usp=sharing")
    assert [(file.path, file.identifier) for file in files] == [("a.jpg", "f0"), ("bg.zip", "f1"), ("parts & more/fg.zip", "f2")]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("https://drive.google.com/drive/folders/gone", "no such file"),
        ("https://drive.google.com/drive/folders/empty", "empty folder"),
        ("https://drive.google.com/drive/folders/bad", r"contains \.\., a path outside"),
        ("https://drive.google.com/drive/my-drive", "is not a link to a Google Drive file or folder"),
    ],
)
def test_a_link_that_leads_to_nothing_is_one_line(link, why):
    with pytest.raises(UserError, match=why):
        find_files(link)
