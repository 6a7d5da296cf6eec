"""s3:// against a real S3 server on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest

from depthmask.base.errors import UserError
from depthmask.download import s3, transfer
from depthmask.download.addresses import find_files
from depthmask.download.cache import fetch_into_cache
from depthmask.download.remote import CHUNK_BYTES, BrokenTransferError

moto_server = pytest.importorskip("moto.server", reason="moto is not installed (development extra)")

BODY = np.random.default_rng(0).bytes(600_000)


@pytest.fixture(scope="module")
def client():
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        s3._make_client.cache_clear()
        client = s3._make_client()
        client.create_bucket(Bucket="sets")
        yield client
    s3._make_client.cache_clear()
    server.stop()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_FIRST_S", 0.0)


def put(client, key, body=BODY):
    client.put_object(Bucket="sets", Key=key, Body=body)
    return f"s3://sets/{key}"


def test_an_object_comes_whole(tmp_path, client):
    (file,) = find_files(put(client, "rooms/all.zip"))
    cached = fetch_into_cache(tmp_path, file, None)
    assert (cached.path.read_bytes(), cached.name) == (BODY, "all.zip")


def cut_connections(monkeypatch):
    """Every connection that has more than two chunks to send breaks after two; returns the positions that are asked for."""
    read_from, starts = s3.S3File.read_from, []

    def send_two(chunks):
        yield from itertools.islice(chunks, 2)
        raise BrokenTransferError("cut")

    @contextlib.contextmanager
    def read_from_and_cut(self, start, version):
        starts.append(start)
        with read_from(self, start, version) as reply:
            is_short = reply.num_bytes - reply.start <= 2 * CHUNK_BYTES
            yield reply if is_short else dataclasses.replace(reply, chunks=send_two(reply.chunks))

    monkeypatch.setattr(s3.S3File, "read_from", read_from_and_cut)
    return starts


def test_a_cut_transfer_is_gone_on_from_by_range(tmp_path, client, monkeypatch):
    starts = cut_connections(monkeypatch)
    (file,) = find_files(put(client, "cut.zip"))
    assert fetch_into_cache(tmp_path, file, None).path.read_bytes() == BODY
    assert starts == [0, 2 * CHUNK_BYTES]


def test_an_object_that_changed_is_not_mixed_with_its_older_part(tmp_path, client, monkeypatch):
    starts = cut_connections(monkeypatch)
    (file,) = find_files(put(client, "changed.zip"))
    monkeypatch.setattr(transfer, "_choose_wait", lambda *_: 0 if put(client, "changed.zip", BODY[::-1]) else 1)
    assert fetch_into_cache(tmp_path, file, None).path.read_bytes() == BODY[::-1]
    assert starts == [0, 2 * CHUNK_BYTES, 0, 2 * CHUNK_BYTES]


def test_everything_under_a_prefix_is_found_with_its_place(client):
    for key in ("set/bg/2.jpg", "set/bg/1.jpg", "set/fg.zip", "settle/no.zip"):
        put(client, key, b"x")
    assert [file.path for file in find_files("s3://sets/set/")] == ["bg/1.jpg", "bg/2.jpg", "fg.zip"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://sets/none.zip", "no such object"),
        ("s3://nowhere/none.zip", "no such bucket"),
        ("s3://sets/nothing/", "no objects under it"),
        ("s3:///key", "names no bucket"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, client, url, why):
    with pytest.raises(UserError, match=why):
        for file in find_files(url):
            fetch_into_cache(tmp_path, file, None)
