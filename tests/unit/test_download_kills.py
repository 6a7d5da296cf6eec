"""SIGKILL at random moments while fetching and unpacking: nothing looks finished that is not, and the next run gives the same."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import random
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from serving_files import run_server

from depthmask.download import unpack
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source

NUM_KILLS = 10


def make_zip(num):
    rng, data = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(num):
            for name, shape in ((f"bg/{number}.png", (16, 16, 3)), (f"fg/{number}.png", (9, 9, 4))):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(picture, "PNG")
                archive.writestr(zipfile.ZipInfo(name), picture.getvalue())
    return data.getvalue()


def read_folder(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_killed_download_or_unpacking_is_made_good_by_the_next_run(tmp_path, params, monkeypatch):
    copy_bytes = unpack._copy_bytes

    def copy_slowly(source, out):
        time.sleep(0.005)
        yield from copy_bytes(source, out)

    monkeypatch.setattr(unpack, "_copy_bytes", copy_slowly)
    context, rng = multiprocessing.get_context("fork"), random.Random(0)
    with run_server() as server:
        url = server.serve("/set.zip", make_zip(12), pause_s=0.02)
        download = DownloadParams(
            **(strip_source(params.download).model_dump() | {"source": "assets", "path": "x.csv", "urls": [url]})
        )
        since = time.monotonic()
        fetch(download, tmp_path / "raw", tmp_path / "cache")
        seconds, wanted = time.monotonic() - since, read_folder(tmp_path / "raw")
        killed_at = []
        for kill in range(NUM_KILLS):
            out, cache = tmp_path / f"raw{kill}", tmp_path / f"cache{kill}"
            process = context.Process(target=fetch, args=(download, out, cache))
            process.start()
            # stratified, so that the ten moments cover the download and the unpacking whatever the machine's speed
            process.join((kill + rng.random()) / NUM_KILLS * seconds)
            process.kill()
            process.join()
            killed_at.append("unpacking" if list(cache.rglob("?" * 64)) else "fetching")
            for file in cache.rglob("?" * 64):
                assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
            if out.exists():
                assert read_folder(out) == wanted
            fetch(download, out, cache)
            assert read_folder(out) == wanted
            assert not list(tmp_path.glob(".*part")) and not list(cache.rglob("part"))
        if set(killed_at) != {"fetching", "unpacking"}:
            pytest.skip(f"the machine was too uneven to kill in both phases: {killed_at}")
