"""A server on loopback that means harm: nothing outside of the download's folder, no hang, no traceback, nothing left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time

import pytest
from making_zips import BACKGROUNDS, CUTOUTS, make_zip
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.download import patience
from depthmask.download import transfer as transferring
from depthmask.download.cache import fetch_into_cache
from depthmask.download.fetch import fetch
from depthmask.download.http import HttpFile
from depthmask.download.remote import find_title
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source


@pytest.fixture(scope="module")
def server():
    with run_server() as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(transferring, "WAIT_FIRST_S", 0.0)


FILES = {"bg", "fg", *BACKGROUNDS, *CUTOUTS, "source.json"}
CODE = {"__init__.py": b"raise SystemExit('the server ran its code')\n"}


def make_params(params, urls, **changes):
    given = {"source": "assets", "path": "data/sources.csv", "urls": urls}
    return DownloadParams(**(strip_source(params.download).model_dump() | given | changes))


def list_all(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def project(tmp_path):
    """A folder as the project's is, some folders deep, with one of its own beside data/."""
    root = tmp_path / "home/me/project"
    (root / "data").mkdir(parents=True)
    (root / "workflow").mkdir()
    (root / "workflow/own.py").write_text("")
    return root


EVIL_NAMES = [
    "../../../workflow/yaml.zip",
    "../../../../../../evil.zip",
    "{root}/workflow/yaml.zip",
    "..\\..\\..\\workflow\\yaml.zip",
    "..",
    ".",
    "",
    "/",
    "..zip",
    "...zip",
    "x\x1b[2Jy.zip",
    "x" * 400 + ".zip",
    "%2e%2e%2f%2e%2e%2fworkflow%2fyaml.zip",
]


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("code", [CODE, {"yaml/__init__.py": CODE["__init__.py"]}])
def test_a_server_chooses_no_place_by_the_name_that_it_gives(project, tmp_path, server, params, name, code):
    """The name of the second of two archives would lead into workflow/, where it would be imported by the next stage."""
    before = list_all(tmp_path)
    named = {"Content-Disposition": f'attachment; filename="{name.format(root=project)}"'}
    good = server.serve("/good.zip", make_zip(BACKGROUNDS | CUTOUTS))
    evil = server.serve("/take", make_zip(code), headers=named)
    record = fetch(make_params(params, [good, evil]), project / "data/raw", project / "cache")
    assert record["num_files"] == 6 and record["warnings"][0].startswith(f"{evil}: no file in it belongs to download.source")
    new = {path for path in list_all(tmp_path) - before if not path.startswith("home/me/project/cache")}
    assert new == {"home/me/project/data/raw"} | {f"home/me/project/data/raw/{name}" for name in FILES}


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_archives_with_evil_names_and_good_contents_are_downloaded(project, tmp_path, server, params, name):
    before = list_all(tmp_path)
    named = {"Content-Disposition": f'attachment; filename="{name.format(root=project)}"'}
    urls = [
        server.serve("/bg.zip", make_zip(BACKGROUNDS)),
        server.serve("/fg.zip", make_zip(CUTOUTS)),
        server.serve("/more", make_zip({"readme.txt": b"of no layout" * 9}), headers=named),
    ]
    record = fetch(make_params(params, urls), project / "data/raw", project / "cache")
    assert record["num_files"] == 6
    new = {path for path in list_all(tmp_path) - before if not path.startswith("home/me/project/cache")}
    assert all(path.startswith("home/me/project/data/raw") for path in new)
    assert all(len(archive["name"].encode()) <= 200 and "/" not in archive["name"] for archive in record["archives"])


def test_two_addresses_that_end_alike_get_two_names(project, server, params):
    """Zenodo, Figshare and others end every address in /content; which is which, their archives' folders say."""
    urls = [
        server.serve("/records/1/content", make_zip({f"top/{name}": data for name, data in BACKGROUNDS.items()})),
        server.serve("/records/2/content", make_zip(CUTOUTS)),
    ]
    named = {"name": "x", "path": "sources.csv"}
    rows = "name,layout,urls,sha256,licence,citation,folders\n"
    rows += f'x,assets,{urls[0]} {urls[1]},,CC0-1.0,A. Author,"content/top/bg=bg content-2/fg=fg"\n'
    (project / "sources.csv").write_text(rows)
    download = make_params(params, [], source="x", path=str(project / named["path"]))
    for _ in range(2):
        record = fetch(download, project / "data/raw", project / "cache")
        assert record["num_files"] == 6
        assert [archive["name"] for archive in record["archives"]] == ["content", "content"]


def test_after_a_refusal_nothing_is_left_and_the_fixed_archive_is_fetched(project, tmp_path, server, params):
    before = list_all(tmp_path)
    url = server.serve("/bad.zip", make_zip(BACKGROUNDS | CUTOUTS | {"../../../x.py": b"code"}))
    with pytest.raises(UserError, match=r"bad.zip: contains ../../../x.py, a path outside it"):
        fetch(make_params(params, [url]), project / "data/raw", project / "cache")
    assert {path for path in list_all(tmp_path) - before if "project/cache" not in path} == set()
    assert not [path for path in (project / "cache").rglob("*") if path.is_file()]
    server.serve("/bad.zip", make_zip(BACKGROUNDS | CUTOUTS))
    assert fetch(make_params(params, [url]), project / "data/raw", project / "cache")["num_files"] == 6


# manners of servers that are no file server


@contextlib.contextmanager
def serve_raw(pieces, pause_s=0.0):
    """A server that answers every connection with the pieces as they are, one after the other, for as long as anybody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection):
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in pieces():
                    connection.sendall(piece)
                    time.sleep(pause_s)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.zip"
        listener.close()


def get(cache, url):
    return fetch_into_cache(cache, HttpFile(url, "x.zip"), None)


OK = b"HTTP/1.1 200 OK\r\n"
DRIP = {
    "headers that never end": lambda: itertools.chain([OK], itertools.repeat(b"X")),
    "a body that drips": lambda: itertools.chain([OK + b"Content-Length: 1000000\r\n\r\n"], itertools.repeat(b"x")),
    "chunks that drip": lambda: itertools.chain([OK + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1\r\nx\r\n")),
    "always about to answer": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": lambda: itertools.chain([OK + b"Content-Length: 10\r\n\r\n"], itertools.repeat(b"")),
}


@pytest.mark.parametrize("manner", DRIP)
def test_a_server_that_drips_is_given_up(tmp_path, monkeypatch, manner):
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    monkeypatch.setattr(transferring, "ATTEMPTS", 2)
    with serve_raw(DRIP[manner], pause_s=0.02) as url:
        since = time.monotonic()
        with pytest.raises(UserError, match=r"no progress in 2 attempts .*sent less than 256 kB in 0 s"):
            get(tmp_path, url)
        assert time.monotonic() - since < 5


MALFORMED = {
    "no http": b"garbage\r\n\r\n",
    "an endless header": OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    "too many headers": OK + b"".join(b"X%d: y\r\n" % number for number in range(200)) + b"\r\n",
    "a chunk's size without end": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 300_000,
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello",
    "a range that was not asked for": b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\n\r\nhello",
    "a length that is cut": OK + b"Content-Length: 1000\r\n\r\nshort",
    "a status that is none": b"HTTP/1.1 999999 What\r\n\r\n",
    "busy, for ever": b"HTTP/1.1 503 Busy\r\nRetry-After: \xb2\r\n\r\n",
}


@pytest.mark.parametrize("manner", MALFORMED)
def test_an_answer_that_is_malformed_is_one_line(tmp_path, monkeypatch, manner):
    monkeypatch.setattr(transferring, "ATTEMPTS", 2)
    with serve_raw(lambda: [MALFORMED[manner]]) as url, pytest.raises(UserError) as error:
        get(tmp_path, url)
    assert str(error.value).startswith(url) and "\n" not in str(error.value) and len(str(error.value)) < 400
    assert not [path for path in tmp_path.rglob("*") if len(path.name) == 64]


@pytest.mark.parametrize("length", [b"9" * 5000, b"\xb2", b"-1", b"5, 5", b"0x5", b""])
def test_a_length_that_is_no_number_is_none(tmp_path, length):
    with serve_raw(lambda: [OK + b"Content-Length: " + length + b"\r\n\r\nPK345"]) as url, contextlib.suppress(UserError):
        assert get(tmp_path, url).path.read_bytes() == b"PK345"


def test_a_body_without_an_end_stops_before_the_disk_is_full(tmp_path, monkeypatch):
    left = itertools.chain(range(3 << 20, 0, -(256 << 10)), itertools.repeat(0))
    monkeypatch.setattr(transferring.shutil, "disk_usage", lambda _: type("Usage", (), {"free": (1 << 30) + next(left)}))
    with (
        serve_raw(lambda: itertools.chain([OK + b"\r\n"], itertools.repeat(bytes(1 << 16)))) as url,
        pytest.raises(UserError, match=r"the server states no size, and the disk of .* has 1.1 GB left; free some space"),
    ):
        get(tmp_path, url)
    assert not list(tmp_path.rglob("part*"))


def test_what_is_compressed_for_the_way_is_not_unpacked(tmp_path, server):
    body = b"\x1f\x8b" + bytes(100)
    url = server.serve("/packed.zip", body, headers={"Content-Encoding": "gzip"})
    assert get(tmp_path, url).path.read_bytes() == body


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "data:text/plain,x", "/loop.zip", "http://["]
)
def test_a_redirect_leads_to_http_only_and_to_an_end(tmp_path, server, to):
    url = server.serve("/loop.zip", answer=lambda _: (302, {"Location": to}, b""))
    with pytest.raises(UserError) as error:
        get(tmp_path, url)
    assert str(error.value).startswith(url) and "root:" not in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if len(path.name) == 64]


def test_a_page_made_to_keep_patterns_busy_is_read_at_once():
    since = time.process_time()
    for page in ("<title>" * 200_000, "<" * 1_000_000, "<title" * 200_000):
        find_title(page)
    assert time.process_time() - since < 3


@pytest.mark.parametrize(
    "header",
    [
        "attachment; filename*=bogus'en'a%FF.zip",
        "attachment; filename*0*=a; filename*=b; filename*1=c",
        "attachment; filename*" + "9" * 5000 + "=x",
        'attachment; filename="',
        "\xff\xfe; filename=\xe9",
        "attachment; filename*=utf-8''..%2F..%2Fx.zip",
        ";" * 5000,
    ],
)
def test_a_header_that_is_malformed_gives_some_harmless_name(tmp_path, header):
    head = OK + b"Content-Length: 5\r\nContent-Disposition: " + header.encode("latin-1") + b"\r\n\r\nPK345"
    with serve_raw(lambda: [head]) as url:
        name = get(tmp_path, url).name
    assert name and not {"/", "\\"} & set(name) and name not in (".", "..") and os.path.basename(name) == name  # noqa: PTH119
