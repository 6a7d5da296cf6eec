"""What a broken download says while it is tried again, how long it waits, and what it says where there is no internet access."""

from __future__ import annotations

import email.utils
import time

import pytest
from serving_files import run_server

from depthmask.base.errors import UserError
from depthmask.download import s3
from depthmask.download import transfer as transferring
from depthmask.download.addresses import find_files
from depthmask.download.http import HttpFile
from depthmask.download.remote import BrokenTransferError, parse_retry_after
from depthmask.download.transfer import _choose_wait, transfer

BODY = bytes(range(256)) * 40
NOW = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.fixture
def server():
    with run_server() as running:
        yield running


@pytest.fixture
def waited():
    """The seconds that `fetch` would have waited."""
    return []


@pytest.fixture
def fetch(tmp_path, waited):
    """Transfer a URL without really waiting; returns its bytes."""

    def fetch(url: str) -> bytes:
        transfer(HttpFile(url, "x.zip"), tmp_path / "part", waited.append)
        return (tmp_path / "part").read_bytes()

    return fetch


def list_lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_each_retry_is_a_line_with_attempt_and_seconds(server, fetch, waited, capsys):
    url = server.serve("/busy.zip", BODY, status=503, num_errors=3)
    assert fetch(url) == BODY
    assert list_lines(capsys) == [
        f"note: {url}: the server responded 503; attempt {number} of 6 in {seconds} s"
        for number, seconds in ((2, "2.0"), (3, "4.0"), (4, "8.0"))
    ]
    assert waited == [2, 4, 8]


def test_a_retry_after_progress_says_how_much_has_arrived(server, fetch, waited, capsys):
    url = server.serve("/cut.zip", BODY, cut_after=6_000)
    assert fetch(url) == BODY
    lines = list_lines(capsys)
    assert (
        len(lines) == 1
        and lines[0].startswith(f"note: {url}: ")
        and lines[0].endswith("; 6,000 bytes have arrived; next attempt in 1.0 s")
    )
    assert waited == [1]


@pytest.mark.parametrize(
    ("wish", "waits_s", "said"),
    [
        ("120", 120, " (the server asked for 120 s)"),
        ("Sun, 06 Nov 1994 08:50:57 GMT", 80, " (the server asked for 80 s)"),
        ("Sunday, 06-Nov-94 08:50:57 GMT", 80, " (the server asked for 80 s)"),
        ("Sun Nov  6 08:50:57 1994", 80, " (the server asked for 80 s)"),
        ("1", 2, " (the server asked for 1 s)"),  # our own wait is longer
        ("86400", 300, " (the server asked for 86,400 s)"),
        ("Sun, 13 Nov 1994 08:49:37 GMT", 300, " (the server asked for 604,800 s)"),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 300, None),
        ("9" * 18, 300, None),
        ("9" * 400, 2, ""),
        ("0", 2, ""),
        ("-5", 2, ""),
        ("1.5", 2, ""),
        ("\u0663", 2, ""),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 2, ""),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 2, ""),
        ("Sun, 99 Nov 1994 99:99:99 GMT", 2, ""),
        ("Sun, 06 Nov 99999 08:49:37 GMT", 2, ""),
        ("Sun, 06 Nov 1994 08:49:37 +999999999999", 2, ""),
        ("tomorrow", 2, ""),
        ("", 2, ""),
    ],
)
def test_retry_after_is_honoured_up_to_five_minutes(server, fetch, waited, capsys, wish, waits_s, said):
    answers = iter([(503, {"Retry-After": wish.encode("utf-8").decode("latin-1"), "Date": NOW}, b"")])

    def answer(path):
        return next(answers, (200, {}, BODY))

    url = server.serve("/x.zip", answer=answer)
    assert fetch(url) == BODY
    assert waited == [waits_s]
    (line,) = list_lines(capsys)
    assert said is None or line.endswith(f" s{said}")


def test_a_date_is_compared_with_the_servers_clock_else_with_this_machines():
    assert parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", NOW) == 30
    assert parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT") is None  # long past here
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    for clock in ("", "no date"):
        assert 90 < parse_retry_after(soon, clock) <= 100
    assert parse_retry_after("x" * 1_000_000) is None


def test_waits_are_bounded_whatever_is_asked():
    for wish_s in (None, 0.0, 1.0, 1e30):
        waits = [_choose_wait(failures, wish_s) for failures in range(6)]
        assert all(0 < one <= transferring.WAIT_ASKED_MAX_S for one in waits) and waits == sorted(waits)


# no internet access


def test_without_a_connection_the_last_line_says_where_to_run_it(fetch, waited, capsys):
    with pytest.raises(UserError, match=r"no progress in 6 attempts \(.*Failed to resolve 'nobody.invalid'") as error:
        fetch("http://nobody.invalid/x.zip")
    assert "dvc repro download, or snakemake --cores 1 --until download" in error.value.hint
    assert "0 bytes" not in error.value.message
    assert len(list_lines(capsys)) == 5 and waited == [2, 4, 8, 16, 32]


def test_a_server_that_is_reached_and_refuses_is_not_said_to_be_unreachable(server, fetch):
    with pytest.raises(UserError, match="no progress in 6 attempts") as error:
        fetch(server.serve("/busy.zip", BODY, status=503))
    assert error.value.hint is None


@pytest.fixture
def proxy(server, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.address(""))
    monkeypatch.setenv("http_proxy", server.address(""))  # the only one that is read where REQUEST_METHOD is set
    monkeypatch.setenv("HTTPS_PROXY", server.address(""))
    return server


def test_a_proxy_of_the_environment_is_used(proxy, fetch):
    proxy.serve("http://nobody.invalid/x.zip", BODY)
    assert fetch("http://nobody.invalid/x.zip") == BODY


def test_a_proxy_that_lets_nothing_through_is_named(proxy, fetch):
    with pytest.raises(UserError, match=r"no progress in 6 attempts .*Tunnel connection failed: 501") as error:
        fetch("https://nobody.invalid/x.zip")
    assert "HTTPS_PROXY" in error.value.hint


def test_s3_without_a_connection_says_where_to_run_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3._make_client.cache_clear()
    try:
        with pytest.raises(UserError, match="try again") as error:
            find_files("s3://rooms/all/")
        assert "login node" in error.value.hint
        (file,) = find_files("s3://rooms/all.zip")
        with pytest.raises(BrokenTransferError) as broken, file.read_from(0, None):
            pass
        assert broken.value.unreachable
    finally:
        s3._make_client.cache_clear()
