"""Addresses on a server that cuts, lies and changes its mind: what is fetched is what is there, or one line says why not."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from making_zips import BACKGROUNDS, CUTOUTS, make_zip
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.base.files import choose_cache
from depthmask.catalog.named_sets import COLUMNS, read_registry
from depthmask.download import transfer as transferring
from depthmask.download.addresses import find_files
from depthmask.download.cache import fetch_into_cache
from depthmask.download.fetch import _work_beside, fetch
from depthmask.download.http import HttpFile
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source
from depthmask.registry.sources import SOURCES
from depthmask.sources import open_source

BODY = np.random.default_rng(0).bytes(100_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def server():
    with run_server() as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch, server):
    monkeypatch.setattr(transferring, "WAIT_FIRST_S", 0.0)
    server.asked.clear()


def get(tmp_path, url, sha256=None):
    return fetch_into_cache(tmp_path / "cache", HttpFile(url, "file"), sha256)


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(tmp_path, server):
    url = server.serve("/good.zip", BODY)
    for _ in range(2):
        file = get(tmp_path, url)
        assert file.path.read_bytes() == BODY
        assert (file.sha256, file.num_bytes, file.name) == (SHA256, len(BODY), "good.zip")
    assert len(server.asked) == 1


def test_cut_connections_are_gone_on_from(tmp_path, server):
    url = server.serve("/cut.zip", BODY, cut_after=30_000)
    assert get(tmp_path, url, SHA256).path.read_bytes() == BODY
    assert [start for _, start in server.asked] == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]


def test_without_ranges_or_a_version_it_starts_over_and_never_mixes(tmp_path, server):
    url = server.serve("/no_ranges.zip", BODY, cut_after=30_000, ranges=False)
    with pytest.raises(UserError, match=r"no progress in 6 attempts .*30,000 bytes are kept"):
        get(tmp_path, url)
    server.files["/no_ranges.zip"].cut_after = None
    assert get(tmp_path, url).path.read_bytes() == BODY
    url = server.serve("/no_version.zip", BODY, cut_after=30_000, etag=False)
    with pytest.raises(UserError, match="giving up"):
        get(tmp_path, url)
    assert {start for path, start in server.asked if path == "/no_version.zip"} == {None}


def test_a_file_that_changed_between_two_runs_is_not_mixed_with_its_older_part(tmp_path, server):
    url = server.serve("/changed.zip", BODY, cut_after=50_000, ranges=False)
    with pytest.raises(UserError, match="50,000 bytes are kept"):
        get(tmp_path, url)
    changed = BODY[::-1]
    server.serve("/changed.zip", changed)
    assert get(tmp_path, url).path.read_bytes() == changed
    assert server.asked[-1] == ("/changed.zip", "bytes=50000-")


@pytest.mark.parametrize(
    ("stated_bytes", "why"),
    [(len(BODY) + 5_000, "100,000 bytes arrived|giving up"), (len(BODY) - 5_000, f"sha256 is [0-9a-f]+, expected {SHA256}")],
)
def test_a_lie_about_the_length_never_ends_in_a_file(tmp_path, server, stated_bytes, why):
    url = server.serve(f"/lie{stated_bytes}.zip", BODY, stated_bytes=stated_bytes, ranges=False)
    with pytest.raises(UserError, match=why):
        get(tmp_path, url, SHA256)
    assert not [file for file in (tmp_path / "cache").rglob("*") if len(file.name) == 64]


def test_errors_of_the_server_are_tried_again_or_reported_at_once(tmp_path, server):
    url = server.serve("/busy.zip", BODY, status=503, num_errors=3)
    assert get(tmp_path, url).sha256 == SHA256
    for path, status, why in (("/gone.zip", 404, "no such file"), ("/closed.zip", 403, "access denied")):
        server.asked.clear()
        with pytest.raises(UserError, match=f"{path}: the server responded {status}: {why}"):
            get(tmp_path, server.serve(path, status=status))
        assert len(server.asked) == 1
    with pytest.raises(UserError, match="no progress in 6 attempts"):
        get(tmp_path, "http://127.0.0.1:9/nobody.zip")


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/zip"])
def test_a_web_page_is_not_taken_for_an_archive(tmp_path, server, content_type):
    page = b"\n<!DOCTYPE html><html><head><title>Please log in</title></head></html>"
    url = server.serve("/page.zip", page, content_type=content_type)
    with pytest.raises(UserError, match=r"page.zip: the server sent a web page \('Please log in'\) instead of a file"):
        get(tmp_path, url)


def test_what_was_first_used_is_trusted_and_nothing_else_is(tmp_path, server):
    url = server.serve("/trust.zip", BODY)
    first = get(tmp_path, url)
    other = BODY[::-1]
    other_sha256 = hashlib.sha256(other).hexdigest()
    server.serve("/trust.zip", other)
    first.path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"has changed since it was first used .sha256 {other_sha256}, before {SHA256}"):
        get(tmp_path, url)
    assert get(tmp_path, url, other_sha256).path.read_bytes() == other
    assert get(tmp_path, url).sha256 == other_sha256
    with pytest.raises(UserError, match=f"sha256 is {other_sha256}, expected {SHA256}"):
        get(tmp_path, url, SHA256)


def test_no_room_is_reported_before_a_byte_is_written(tmp_path, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000}))
    with pytest.raises(UserError, match=r"0.0 GB needed, 0.0 GB free"):
        get(tmp_path, server.serve("/large.zip", BODY))
    assert not list((tmp_path / "cache").rglob("part"))


def test_two_that_want_the_same_address_wait_for_each_other(tmp_path, server):
    url = server.serve("/both.zip", BODY, pause_s=0.002)
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda _: get(tmp_path, url), range(2)))
    assert [file.path.read_bytes() for file in files] == [BODY, BODY]
    assert len(server.asked) == 1


def test_two_downloads_into_the_same_folder_are_rejected(tmp_path, params, small_demo):
    with (
        _work_beside(tmp_path / "raw"),
        pytest.raises(UserError, match="another download into it is running"),
    ):
        fetch(params.download.model_copy(update={"path": str(small_demo)}), tmp_path / "raw")
    assert not list(tmp_path.iterdir())


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEPTHMASK_CACHE", raising=False)
    assert choose_cache() == tmp_path / "depthmask"
    monkeypatch.setenv("DEPTHMASK_CACHE", str(tmp_path / "own"))
    assert choose_cache() == tmp_path / "own"


# from params to data/raw


def make_params(params, **changes):
    return DownloadParams(
        **(strip_source(params.download).model_dump() | {"source": "assets", "path": "data/sources.csv"} | changes)
    )


def read_folder(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_one_address_and_several_give_the_same_source(tmp_path, server, params):
    whole = make_zip({f"set/{name}": data for name, data in (BACKGROUNDS | CUTOUTS).items()})
    url = server.serve("/whole.zip", whole)
    one = fetch(make_params(params, urls=[url]), tmp_path / "one", tmp_path / "cache")
    parts = [server.serve("/bg.zip", make_zip(BACKGROUNDS)), server.serve("/fg.zip", make_zip(CUTOUTS))]
    several = fetch(make_params(params, urls=parts), tmp_path / "several", tmp_path / "cache")
    assert one["sha256"] == several["sha256"]
    assert one["archives"] == [
        {"name": "whole.zip", "url": url, "sha256": hashlib.sha256(whole).hexdigest(), "num_bytes": len(whole)}
    ]
    assert len(open_source(tmp_path / "several").backgrounds) == 3
    assert not list(tmp_path.glob(".*"))
    again = fetch(make_params(params, urls=[url]), tmp_path / "again", tmp_path / "cache")
    assert again == one and read_folder(tmp_path / "again") == read_folder(tmp_path / "one")


def test_a_local_folder_of_archives_is_unpacked_and_the_users_files_stay(tmp_path, params):
    mine = tmp_path / "mine"
    (mine / "fg").mkdir(parents=True)
    (mine / "bg.zip").write_bytes(make_zip(BACKGROUNDS))
    for name, data in CUTOUTS.items():
        (mine / name).write_bytes(data)
    before = read_folder(mine)
    record = fetch(make_params(params, path=str(mine)), tmp_path / "raw")
    assert [archive["name"] for archive in record["archives"]] == ["bg.zip"]
    assert read_folder(mine) == before
    assert open_source(tmp_path / "raw").cutouts == ("thing0", "thing1", "thing2")
    (mine / "bg").mkdir()
    with pytest.raises(UserError, match="another archive or folder is called bg"):
        fetch(make_params(params, path=str(mine)), tmp_path / "raw")


def test_a_sha256_behind_an_address_is_checked(tmp_path, server, params):
    data = make_zip(BACKGROUNDS | CUTOUTS)
    url = server.serve("/hash.zip", data)
    fetch(make_params(params, urls=[f"{url}#sha256={hashlib.sha256(data).hexdigest()}"]), tmp_path / "raw", tmp_path / "cache")
    for digits, why in (("0" * 64, "sha256 is .*, expected"), ("abc", "allowed: 64 hex digits")):
        with pytest.raises(UserError, match=why):
            fetch(make_params(params, urls=[f"{url}#sha256={digits}"]), tmp_path / "never", tmp_path / "cache")
    assert not (tmp_path / "never").exists()


def test_what_is_no_archive_is_not_trusted_at_its_next_use(tmp_path, server, params):
    url = server.serve("/short.zip", make_zip(BACKGROUNDS | CUTOUTS)[:-30])
    download = make_params(params, urls=[url])
    with pytest.raises(UserError, match=r"short.zip: cannot be unpacked"):
        fetch(download, tmp_path / "raw", tmp_path / "cache")
    server.serve("/short.zip", make_zip(BACKGROUNDS | CUTOUTS))
    assert fetch(download, tmp_path / "raw", tmp_path / "cache")["num_files"] == 6


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"urls": ["ftp://host/file.zip"]}, "urls"),
        ({"urls": ["https://host/a b.zip"]}, "urls"),
        ({"urls": ["https://host/a.zip"], "path": "data/demo"}, "path: data/demo would be ignored"),
        ({"path": "https://host/a.zip"}, "path: https://host/a.zip is an address; put it into urls"),
        ({"urls": ["https://host/a.zip", "https://host/b.zip"], "sha256": "0" * 64}, "sha256: is for a single archive"),
        ({"source": "rooms", "path": "data/demo"}, "'demo', 'assets', .*or, with path: data/sources.csv, a name listed there"),
    ],
)
def test_params_that_cannot_work_are_rejected_before_anything_is_fetched(params, changes, why):
    with pytest.raises(ValueError, match=why):
        make_params(params, **changes)


# named sets

ROW = {
    "name": "rooms",
    "layout": "assets",
    "urls": "",
    "sha256": "",
    "licence": "CC0-1.0",
    "citation": "A. Author, Rooms, 2020",
    "folders": "pictures=bg cut=fg",
}


def write_registry(path, *changes):
    rows = [",".join(f'"{value}"' for value in (ROW | change).values()) for change in changes]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


def test_a_named_set_is_fetched_by_its_name(tmp_path, server, params):
    files = {name.replace("bg/", "pictures/").replace("fg/", "cut/"): data for name, data in (BACKGROUNDS | CUTOUTS).items()}
    data = make_zip(files)
    path = write_registry(
        tmp_path / "sources.csv", {"urls": server.serve("/rooms.zip", data), "sha256": hashlib.sha256(data).hexdigest()}
    )
    record = fetch(make_params(params, source="rooms", path=str(path)), tmp_path / "raw", tmp_path / "cache")
    assert record["set"] == {"name": "rooms", "licence": "CC0-1.0", "citation": "A. Author, Rooms, 2020"}
    assert record["download"]["source"] == "assets"
    assert len(open_source(tmp_path / "raw").backgrounds) == 3
    with pytest.raises(UserError, match=r"no set halls in .*sources.csv; it has: rooms"):
        fetch(make_params(params, source="halls", path=str(path)), tmp_path / "raw", tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"layout": "round"}, "'round' is not a layout"),
        ({"name": "demo"}, "'demo' is not a valid name"),
        ({"licence": " "}, "rooms has no licence"),
        ({"urls": ""}, "rooms has no urls"),
        ({"sha256": "abc"}, "sha256 must be empty"),
        ({"folders": "../x=bg"}, "folders must be pairs"),
    ],
)
def test_a_line_of_the_list_that_is_invalid_is_reported_with_its_number(tmp_path, change, why):
    path = write_registry(tmp_path / "sources.csv", {"urls": "http://host/x.zip"} | change)
    with pytest.raises(UserError, match=f"line 2: .*{why}|line 2: {why}"):
        read_registry(path, SOURCES)


def test_every_line_of_the_projects_own_list_is_in_order():
    sets = read_registry(Path(__file__).parents[2] / "data/sources.csv", SOURCES)
    assert sets
    for named in sets.values():
        assert all(find_files(url) for url in named.urls)
        assert named.licence and named.citation
