"""A file of weights by its address: on this machine, or fetched into the cache."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from depthmask.base.errors import UserError
from depthmask.base.files import choose_cache
from depthmask.catalog.weights_files import require_local_file, require_sha256
from depthmask.download.addresses import find_files, is_folder
from depthmask.download.cache import fetch_into_cache
from depthmask.download.http import HttpFile
from depthmask.download.remote import RemoteFile
from depthmask.params.weights_files import HUB, WeightsFile

HUB_ADDRESS = "https://huggingface.co"


def find_weights_file(key: str, file: WeightsFile) -> Path:
    """The file behind a key of params.yaml, with exactly the sha256 that was given.

    Raises:
        UserError: it is missing, cannot be fetched, or has another sha256; or none was given: the error has it.
    """
    if file.path is not None:
        return require_local_file(key, file)
    try:
        cached = fetch_into_cache(choose_cache(), find_remote(file.address), file.sha256)
    except UserError as error:
        raise UserError(f"{key}: {error.message}", error.hint) from error
    require_sha256(key, file, cached.sha256)
    return cached.path


def find_remote(address: str) -> RemoteFile:
    """The file at a URL of http(s) or hf; HF_ENDPOINT and HF_TOKEN apply to the latter, as to other tools of the Hub."""
    hub = HUB.fullmatch(address)
    if hub is not None:
        server = (os.environ.get("HF_ENDPOINT") or HUB_ADDRESS).rstrip("/")
        url = f"{server}/{hub['model']}/resolve/{quote(hub['revision'], safe='')}/{hub['path']}"
        return HttpFile(address, hub["path"], url, os.environ.get("HF_TOKEN") or None)
    if is_folder(address):
        raise UserError(f"{address}: is a folder; use the address of one file")
    return find_files(address)[0]
