"""Secrets in addresses: refused where they would be kept, masked wherever they could be seen, found by env:NAME."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from serving_files import run_server

from depthmask.base import credentials
from depthmask.base.credentials import find_secret, identify, list_unset, mask_secrets, mask_values, read_address
from depthmask.base.errors import ParamsError, UserError
from depthmask.base.terminal import Bar, clean, print_line
from depthmask.catalog.named_sets import COLUMNS, read_registry
from depthmask.download import transfer as transferring
from depthmask.download.addresses import find_files, split_sha256
from depthmask.download.cache import fetch_into_cache
from depthmask.params import Params, make_params
from depthmask.params.reading import read_yaml
from depthmask.registry.sources import SOURCES

SECRET = "s3cr3tPW"
ADDRESSES = [
    "https://me:{}@host/x.zip",
    "https://{}@host/x.zip",
    "http://me:p@{}/w?x#y@host/x.zip",
    "s3://AKIA:{}@bucket/x.zip",
    "https://b.s3.amazonaws.com/x.zip?X-Amz-Algorithm=A&X-Amz-Date=2026&X-Amz-Signature={}",
    "https://b.s3.amazonaws.com/x.zip?X-Amz-Credential={}%2F2026",
    "https://b.s3.amazonaws.com/x.zip?X-Amz-Security-Token={}",
    "https://b.s3.amazonaws.com/x.zip?x%2damz%2dsignature={}",
    "https://b.s3.amazonaws.com/x.zip?AWSAccessKeyId={}&Expires=1",
    "https://storage.googleapis.com/b/x.zip?X-Goog-Signature={}&X-Goog-Date=1",
    "https://a.blob.core.windows.net/c/x.zip?sv=2024&se=2026&sig={}",
    "https://d.cloudfront.net/x.zip?Policy={}&Key-Pair-Id=K",
    "https://host/x.zip?Signature={}",
    "https://host/x.zip?token={}",
    "https://host/x.zip?a=1&access_token={}&b=2",
    "https://host/x.zip?private_token={}",
    "https://host/x.zip?api_key={}",
    "https://host/x.zip?apiKey={}",
    "https://host/x.zip?key={}",
    "https://host/x.zip?auth[password]={}",
    "https://host/x.zip?a=1;token={}",
    "https://host/x.zip#access_token={}",
    "https://host/go?to=https%3A%2F%2Fme%3A{}%40host%2Fx.zip",
    "https://host/go?to=https%3A%2F%2Fhost%2Fx.zip%3Ftoken%3D{}%26a%3D1",
]
PLAIN = [
    "https://host/x.zip",
    "https://host:8080/a@2x/x.zip",
    "http://[::1]:8080/a@b.zip",
    "https://host/x.zip?download=1&version=3",
    "https://zenodo.org/api/records/1/files/x.zip/content",
    "https://drive.google.com/file/d/ID/view?usp=sharing&resourcekey=0-abc",
    "s3://bucket/a@b/x.zip",
    "https://host/x.zip#sha256=" + "0" * 64,
    "https://***@host/x.zip?sig=***",
    "env:ROOMS_URL",
]


@pytest.fixture(autouse=True)
def forget_known():
    yield
    credentials._known.clear()


@pytest.mark.parametrize("form", ADDRESSES)
def test_a_secret_is_found_and_masked(form):
    address = form.format(SECRET)
    assert find_secret(address) is not None and SECRET not in find_secret(address)
    for text in (address, f"fetching {address} (gave up)", json.dumps({"url": address}), f"'{address}': url: {address}, again"):
        masked = mask_secrets(text)
        assert SECRET not in masked and "***" in masked
        assert mask_secrets(masked) == masked
    assert mask_values({"a": [address, 1, None]})["a"][1:] == [1, None] and SECRET not in str(mask_values({"a": [address]}))


@pytest.mark.parametrize("address", PLAIN)
def test_an_address_without_a_secret_is_left_alone(address):
    assert find_secret(address) is None and mask_secrets(address) == address


@given(
    st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs"), exclude_characters='&#"<>@'), min_size=9, max_size=40)
)
def test_no_value_of_a_secret_parameter_comes_through(value):
    for name in ("token", "X-Amz-Signature", "sig", "password"):
        assert value not in mask_secrets(f"see https://host/x.zip?a=1&{name}={value} or not").replace("***", "")


@pytest.mark.parametrize("form", ADDRESSES)
def test_params_and_lists_of_sets_with_a_secret_are_rejected_without_repeating_it(form, tmp_path, project_params, capsys):
    values = project_params
    values["download"] |= {"source": "assets", "path": "data/sources.csv", "urls": [form.format(SECRET)]}
    with pytest.raises(ParamsError, match=r"download.urls: .*contains .*, which would be copied into dvc.lock") as error:
        make_params(values, "params.yaml")
    print_line(str(error.value))
    row = ["rooms", "assets", form.format(SECRET), "", "CC0", "A. Author", ""]
    (tmp_path / "sources.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(row) + "\n")
    with pytest.raises(UserError, match=r"line 2: .*contains .*, which would be copied") as error:
        read_registry(tmp_path / "sources.csv", SOURCES)
    print_line(str(error.value))
    assert SECRET not in capsys.readouterr().err


@pytest.fixture
def project_params(request):
    return read_yaml(request.config.rootpath / "params.yaml", Params)


def test_whatever_is_printed_is_masked():
    out = io.StringIO()
    console = Console(file=out, width=200)
    print_line(f"see https://me:{SECRET}@host/", label=f"https://{SECRET}@h ", console=console)
    with Bar(f"fetching https://host/x?token={SECRET}", console=console) as bar:
        bar.start(0, 1, f"again https://me:{SECRET}@host/")
    assert SECRET not in out.getvalue() + bar._what + clean(f"https://me:{SECRET}@host")


def test_an_address_of_the_environment_is_looked_up_and_never_shown(monkeypatch):
    address = f"https://me:{SECRET}@host/folder/x.zip?a=1&token={SECRET}"
    monkeypatch.setenv("ROOMS_URL", f" {address}\n")
    assert split_sha256("env:ROOMS_URL#sha256=" + "0" * 64) == ("env:ROOMS_URL", "0" * 64)
    (file,) = find_files("env:ROOMS_URL")
    assert (file.url, file.path, file.address) == ("env:ROOMS_URL", "x.zip", address)
    assert SECRET not in repr(file) + file.identity
    assert mask_secrets(f"Max retries exceeded with url: /folder/x.zip?a=1&token={SECRET} of {address}") == (
        "Max retries exceeded with url: *** of env:ROOMS_URL"
    )
    assert list_unset(["env:ROOMS_URL", "env:NOT_THERE#sha256=" + "0" * 64, "https://host/"]) == ["NOT_THERE"]
    for value, why in (
        ("", "is not set"),
        ("ftp://host/x", "does not contain an address"),
        ("https://a b", "does not contain an address"),
    ):
        monkeypatch.setenv("ROOMS_URL", value)
        with pytest.raises(UserError, match=f"env:ROOMS_URL: .*{why}"):
            read_address("env:ROOMS_URL")


def test_another_signature_makes_no_other_file_and_another_path_does():
    signed = "https://host/x.zip?v=3&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-Signature={}"
    assert identify(signed.format(1, 2, 3)) == identify(signed.format(4, 5, 6)) == "https://host/x.zip?v=3"
    assert identify("https://me:a@host/x?sv=1&se=2&sig=3") == identify("https://me:b@host/x?sv=4&se=5&sig=6")
    assert len({identify(f"https://host/{path}?v={v}&token=1") for path in "xy" for v in (1, 2)}) == 4
    assert identify("https://host/x?expires=1") == "https://host/x?expires=1"


def test_a_file_behind_a_signed_address_is_fetched_once_and_its_records_hold_no_signature(tmp_path, monkeypatch):
    monkeypatch.setattr(transferring, "WAIT_FIRST_S", 0.0)
    with run_server() as server:
        url = server.serve("/rooms.zip", b"PK\x03\x04" + bytes(1000), cut_after=400, ranges=True)
        for signature in (f"{SECRET}1", f"{SECRET}2"):
            monkeypatch.setenv("ROOMS_URL", f"{url}?X-Amz-Date=1&X-Amz-Signature={signature}")
            (file,) = find_files("env:ROOMS_URL")
            cached = fetch_into_cache(tmp_path, file, None)
            assert cached.name == "rooms.zip" and cached.num_bytes == 1004
        assert all("Signature" in path for path, _ in server.asked) and len(server.asked) == 3
        closed = server.serve("/closed.zip", status=403)
        monkeypatch.setenv("ROOMS_URL", f"{closed}?token={SECRET}")
        with pytest.raises(UserError, match=r"^env:ROOMS_URL: the server responded 403: access denied"):
            fetch_into_cache(tmp_path, *find_files("env:ROOMS_URL"), None)
        to = {"Location": f"http://me:{SECRET}@127.0.0.1:9/?sig={SECRET}"}
        moved = server.serve("/moved.zip", answer=lambda _: (302, to, b""))
        monkeypatch.setattr(transferring, "ATTEMPTS", 1)
        (file,) = find_files(moved)
        with pytest.raises(UserError) as error:
            fetch_into_cache(tmp_path, file, None)
        assert SECRET not in str(error.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET.encode() in path.read_bytes() or SECRET in path.name]
