"""s3://BUCKET/KEY, and s3://BUCKET/PREFIX/ for everything under a prefix.

Credentials, region and endpoint are found as by all AWS tools (AWS_PROFILE, AWS_ENDPOINT_URL, ...); without
credentials requests are not signed, which public buckets accept.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.session
import urllib3
from botocore import UNSIGNED
from botocore.config import Config

from depthmask.base.errors import UserError
from depthmask.download.names import make_name, to_slashes
from depthmask.download.remote import CHUNK_BYTES, TIMEOUT_S, BrokenTransferError, Reply, advise_offline, parse_retry_after

CHANGED = ("PreconditionFailed", "412", "InvalidRange", "416")
UNREACHABLE = (
    botocore.exceptions.EndpointConnectionError,
    botocore.exceptions.ConnectTimeoutError,
    botocore.exceptions.ProxyConnectionError,
)
KEYS_MAX = 5_000_000
WHAT_TO_DO = {
    "NoSuchKey": "no such object; correct the address",
    "NoSuchBucket": "no such bucket; correct the address",
    "404": "no such object; correct the address",
    "AccessDenied": "access denied; set AWS_PROFILE or other credentials that can read it",
    "403": "access denied; set AWS_PROFILE or other credentials that can read it",
}


@dataclass(frozen=True)
class S3File:
    """One object. path: below the requested prefix, or its last component if requested itself."""

    url: str
    path: str

    @property
    def identity(self) -> str:
        return self.url

    @contextlib.contextmanager
    def read_from(self, start: int, version: str | None) -> Iterator[Reply]:
        bucket, key = _take_apart(self.url)
        condition = {"Range": f"bytes={start}-", "IfMatch": version} if start else {}
        with _translate_errors(self.url):
            answer = _make_client().get_object(Bucket=bucket, Key=key, **condition)
            with contextlib.closing(answer["Body"]) as body:
                chunks = body.iter_chunks(CHUNK_BYTES)
                yield Reply(start, start + answer["ContentLength"], answer["ETag"], make_name(key), chunks)


def list_objects(url: str) -> list[S3File]:
    """The objects under s3://BUCKET/PREFIX/, sorted by key.

    Raises:
        UserError: there are none, or listing is denied.
    """
    bucket, prefix = _take_apart(url)
    try:
        with _translate_errors(url):
            pages = _make_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            listed = (item["Key"] for page in pages for item in page.get("Contents", ()) if not item["Key"].endswith("/"))
            keys = list(itertools.islice(listed, KEYS_MAX + 1))
    except BrokenTransferError as error:
        raise UserError(f"{error}; try again", hint=advise_offline() if error.unreachable else None) from error
    if len(keys) > KEYS_MAX:
        raise UserError(f"{url}: more than {KEYS_MAX:,} objects; put them into archives")
    if not keys:
        raise UserError(f"{url}: no objects under it; correct the address")
    return [S3File(f"s3://{bucket}/{key}", to_slashes(key.removeprefix(prefix))) for key in sorted(keys)]


@functools.cache
def _make_client():
    session = botocore.session.get_session()
    connect, read = TIMEOUT_S
    settings = {"connect_timeout": connect, "read_timeout": read, "retries": {"mode": "standard", "max_attempts": 2}}
    if session.get_credentials() is None:
        settings["signature_version"] = UNSIGNED
    region = session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", region_name=region, config=Config(**settings))


def _take_apart(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or not urlsplit(url).netloc:
        raise UserError(f"{url}: names no bucket; allowed: s3://BUCKET/KEY, or s3://BUCKET/PREFIX/ for everything under it")
    return bucket, key


@contextlib.contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    """Turn exceptions from botocore into the two failures of a transport."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in CHANGED:
            raise BrokenTransferError(f"{url}: the object has changed", start_over=True) from error
        if status >= 500 or status == 429 or code == "SlowDown":
            headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
            wish_s = parse_retry_after(headers.get("retry-after", ""), headers.get("date", ""))
            raise BrokenTransferError(f"{url}: S3 responded {code}", wish_s) from error
        raise UserError(f"{url}: S3 responded {code}: {WHAT_TO_DO.get(code, 'correct the address')}") from error
    except UNREACHABLE as error:
        raise BrokenTransferError(f"{url}: {error}", unreachable=True) from error
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.IncompleteReadError) as error:
        raise BrokenTransferError(f"{url}: {error}") from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise BrokenTransferError(f"{url}: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise UserError(f"{url}: {error}; check the address and the AWS settings") from error
