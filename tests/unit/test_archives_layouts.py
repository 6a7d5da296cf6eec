"""Every layout comes out of archives as it does of a folder, whether one archive holds it or several do."""

from __future__ import annotations

import zipfile

import pytest
from making_layouts import WRITERS, make_composites

from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source
from depthmask.sources import open_source

DRIVE = "20240101T101010Z"


@pytest.fixture(scope="module", params=list(WRITERS))
def layout(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    changes, _ = WRITERS[request.param](folder / "set", make_composites(2, 2, num_places=1))
    return request.param, folder / "set", changes


def write_zip(path, files, prefix=""):
    """files: {name in the zip: path}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in files.items():
            archive.write(file, f"{prefix}{name}")


def list_files(folder):
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def write_one(out, folder):
    write_zip(out / "anything.zip", list_files(folder) | {"README.md": __file__, "x/__MACOSX/._bg": __file__}, "set/set/")
    return out / "anything.zip"


def write_one_a_folder(out, folder):
    for inner in folder.iterdir():
        write_zip(out / f"{inner.name}.zip", list_files(inner))
    return out


def write_one_a_folder_with_it(out, folder):
    for inner in folder.iterdir():
        write_zip(out / f"{inner.name}-{DRIVE}-001.zip", list_files(inner), f"{inner.name}/")
    return out


def write_split(out, folder):
    files = list(list_files(folder).items())
    for number in range(3):
        write_zip(out / f"set-{DRIVE}-{number + 1:03d}.zip", dict(files[number::3]), "set/")
    return out


@pytest.mark.parametrize("write", [write_one, write_one_a_folder, write_one_a_folder_with_it, write_split])
def test_a_layout_in_archives_is_read_as_the_layout_in_a_folder(tmp_path, params, layout, write):
    name, folder, changes = layout
    values = strip_source(params.download).model_dump() | {"source": name} | changes
    fetch(DownloadParams(**values | {"path": str(folder)}), tmp_path / "plain")
    record = fetch(DownloadParams(**values | {"path": str(write(tmp_path / "mine", folder))}), tmp_path / "raw")
    plain, raw = open_source(tmp_path / "plain"), open_source(tmp_path / "raw")
    assert raw.composites == plain.composites and len(raw.composites) >= 4
    assert (raw.has_backgrounds, raw.has_depth) == (plain.has_backgrounds, plain.has_depth)
    for origin in raw.composites:
        assert (raw.read_composite(origin).image == plain.read_composite(origin).image).all()
    assert not any("no file in it" in line for line in record["warnings"])
