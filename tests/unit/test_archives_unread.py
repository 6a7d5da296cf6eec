"""Archives that cannot be read: each says what it is and what to do, and none is to be fetched again for nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile

import pytest
from making_zips import BACKGROUNDS, CUTOUTS, make_png, make_zip

from depthmask.base.errors import ParamsError, UserError
from depthmask.download import zip_members
from depthmask.download.fetch import fetch
from depthmask.download.members import DamagedArchiveError
from depthmask.download.unpack import unpack
from depthmask.params import DownloadParams
from depthmask.params.mixture import strip_source
from depthmask.preflight.paths import check_layout, require_inputs

ALL = BACKGROUNDS | CUTOUTS
CENTRAL, END = b"PK\1\2", b"PK\5\6"


def change(data, magic, place, form, value, all_of_them=True):
    """One field of each record of a kind."""
    data = bytearray(data)
    for found in list(re.finditer(re.escape(magic), bytes(data)))[slice(None) if all_of_them else slice(-1, None)]:
        struct.pack_into(form, data, found.start() + place, value)
    return bytes(data)


def with_method(method):
    return change(make_zip(ALL), CENTRAL, 10, "<H", method)


def split(data, num):
    """A zip as `zip -s` cuts it: all but the last part lack the directory; the last one's end says how many came before."""
    data = change(b"PK\7\10" + data, END, 4, "<H", num - 1)
    step = len(data) // num
    return [data[step * n : step * (n + 1) if n < num - 1 else None] for n in range(num)]


UNREAD = {
    "rooms.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "is a 7z archive, which is not read; unpack it (7z x) and set download.path"),
    "rooms.rar": (b"Rar!\x1a\x07\x01\0" + bytes(50), "is a rar archive, which is not read; unpack it (7z x, or unrar x) and set"),
    "rooms.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(50), "is compressed with zstd, which is not read; unpack it (tar --zstd -xf)"),
    "rooms.tar.lz": (b"LZIP\1" + bytes(50), "is compressed with lzip, which is not read; unpack it (tar --lzip -xf)"),
    "rooms.cab": (b"MSCF" + bytes(50), "is a cab archive, which is not read; unpack it (7z x)"),
    "rooms.iso": (bytes(0x8001) + b"CD001" + bytes(9), "is a disk image, which is not read; unpack it (7z x)"),
    "rooms.part1.rar": (b"Rar!\x1a\x07\x01\0" + bytes(50), "is a part of a split rar; unpack its first part (7z x)"),
    "rooms.7z.001": (
        b"7z\xbc\xaf\x27\x1c" + bytes(50),
        "is a part of a split archive; join the parts (cat rooms.7z.* > rooms.7z)",
    ),
    "rooms.z01": (
        split(make_zip(ALL), 3)[0],
        "is the first part of a split zip; unpack its last part, the one named .zip (7z x)",
    ),
    "rooms.z02": (split(make_zip(ALL), 3)[1], "is a part of a split zip; unpack its last part (7z x rooms.zip)"),
    "split.zip": (
        split(make_zip(ALL), 3)[2],
        "is the last of 3 parts of a split zip; unpack it with the others beside it (7z x)",
    ),
    "rooms.zip.001": (make_zip(ALL)[:900], "is a part of a split archive; join the parts (cat rooms.zip.* > rooms.zip)"),
    "rooms.zip.002": (make_zip(ALL)[900:], "is a part of a split archive; join the parts (cat rooms.zip.* > rooms.zip)"),
    "rooms.zip.part": (make_zip(ALL)[:900], "is an unfinished download; fetch it again to its end"),
    "page.zip": (b"<!DOCTYPE html><html><title>Sign in</title>", "is a web page, not an archive; fetch the file itself"),
    "error.zip": (
        b'{"error": "AccessDenied"}\n',
        """is text, not an archive: '{"error": "AccessDenied"}'; correct the address, or fetch the file itself""",
    ),
    "twice.tgz": (
        gzip.compress(gzip.compress(make_zip(ALL))),
        "cannot be unpacked here (it is compressed, but no tar is inside); unpack it with another tool (7z x) and set",
    ),
    "lfs.zip": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is a Git LFS pointer, not the file itself; run git",
    ),
    "photo.zip": (make_png(20), "is an image, not an archive; put images into folders"),
    "d64.zip": (
        with_method(9),
        "contains bg/room0.png, compressed with Deflate64, which cannot be read here; unpack it (7z x) and",
    ),
    "xz.zip": (with_method(95), "contains bg/room0.png, compressed with xz, which cannot be read here"),
    "ppmd.zip": (with_method(98), "contains bg/room0.png, compressed with PPMd, which cannot be read here"),
    "odd.zip": (with_method(55), "contains bg/room0.png, compressed with the method 55, which cannot be read here"),
    "secret.zip": (
        change(make_zip(ALL), CENTRAL, 8, "<H", 1),
        "contains bg/room0.png, an encrypted file; unpack it with its password (7z x) and set download.path to the folder",
    ),
    "newer.zip": (
        change(make_zip(ALL), CENTRAL, 6, "<H", 99),
        "cannot be unpacked here (zip file version 9.9); unpack it with another",
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_an_archive_that_cannot_be_read_says_what_it_is_and_what_to_do(tmp_path, name):
    data, why = UNREAD[name]
    (tmp_path / "some").write_bytes(data)
    with pytest.raises(UserError) as error:
        unpack(tmp_path / "some", tmp_path / "out", f"https://host/{name}?download=1")
    assert str(error.value).startswith(f"https://host/{name}?download=1: {why}")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    assert not isinstance(error.value, DamagedArchiveError)  # which would say to fetch it again, the unfinished one apart


@pytest.mark.skipif(hasattr(zipfile, "ZIP_ZSTANDARD"), reason="Python 3.14 reads zstd")
def test_zstd_in_a_zip_is_rejected_where_python_cannot_read_it(tmp_path):
    (tmp_path / "some").write_bytes(with_method(93))
    with pytest.raises(
        UserError, match=r"zs.zip: contains bg/room0.png, compressed with zstd, which cannot be read here; unpack it"
    ):
        unpack(tmp_path / "some", tmp_path / "out", "zs.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 93])
def test_what_this_python_reads_is_read(tmp_path, method):
    if method == 93 and not hasattr(zipfile, "ZIP_ZSTANDARD"):
        assert method not in zip_members.METHODS_READ
        return
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("bg/1.jpg", b"one" * 100)
    unpack(tmp_path / "a.zip", tmp_path / "out", "a.zip")
    assert (tmp_path / "out/bg/1.jpg").read_bytes() == b"one" * 100


def test_a_zip_that_is_cut_off_is_to_be_fetched_again(tmp_path):
    (tmp_path / "cut").write_bytes(make_zip(ALL)[:-30])
    with pytest.raises(DamagedArchiveError, match=r"rooms.zip: cannot be unpacked \(a zip without its end\); fetch it again"):
        unpack(tmp_path / "cut", tmp_path / "out", "rooms.zip")


def test_a_tar_whose_first_name_looks_like_another_archive_is_read(tmp_path):

    for name in ("MSCF/1.jpg", "LZIP", "GIF8.gif", "<html>"):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"one"))
        unpack(tmp_path / "a.tar", tmp_path / "out", "a.tar")
        assert (tmp_path / "out" / name).read_bytes() == b"one"


def test_a_download_of_zeros_is_to_be_fetched_again(tmp_path):
    """As tools leave it that make room for the whole file first."""
    (tmp_path / "empty").write_bytes(bytes(9000))
    with pytest.raises(DamagedArchiveError, match=r"^rooms.zip: begins with zeros, .*; fetch it again$"):
        unpack(tmp_path / "empty", tmp_path / "out", "rooms.zip")


def make_tar(mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in ALL.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


NAMELESS = {  # what is printed behind the path, by name
    "rooms": (make_zip(ALL), "is an archive, but its name does not say so; rename it to rooms.zip"),
    "rooms.gz": (make_tar("w:gz"), "is an archive, but its name does not say so; rename it to rooms.tar.gz"),
    "rooms.tbz": (bz2.compress(make_tar()), "is an archive, but its name does not say so; rename it to rooms.tar.bz2"),
    "data.bin": (lzma.compress(make_tar()), "is an archive, but its name does not say so; rename it to data.bin.tar.xz"),
    "photo.png.gz": (
        gzip.compress(b"x" * 999),
        "is one compressed file, not an archive of folders; unpack it (7z x photo.png.gz)",
    ),
    "rooms.crdownload": (make_zip(ALL)[:99], "is an unfinished download; fetch it again to its end"),
    "notes.txt": (b"hello", "neither a folder nor an archive; allowed: a folder, .zip"),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_a_file_without_the_name_of_an_archive_is_recognised_by_its_content(tmp_path, params, name):
    data, why = NAMELESS[name]
    (tmp_path / name).write_bytes(data)
    changed = make_params(params, tmp_path / name)
    with pytest.raises(UserError, match=f"^{tmp_path / name}: {re.escape(why)}"):
        fetch(changed.download, tmp_path / "raw")
    with pytest.raises(ParamsError, match=f"download.path: {tmp_path / name}( is)? {re.escape(why)}"):
        require_inputs(changed, "params.yaml")


def make_params(params, path):
    return params.model_copy(
        update={
            "download": DownloadParams(**(strip_source(params.download).model_dump() | {"source": "assets", "path": str(path)}))
        }
    )


@pytest.mark.parametrize("name", ["bg.7z", "rooms.part1.rar", "rooms.zip.001", "rooms.tar.zst"])
def test_a_folder_of_archives_that_are_not_read_is_reported_before_anything_is_removed(tmp_path, params, name):
    path = tmp_path / "mine"
    path.mkdir()
    (path / name).write_bytes(b"of no use")
    changed = make_params(params, path)
    with pytest.raises(ParamsError, match=f"download.path: {path / name}: is a"):
        check_layout(changed.download, "params.yaml")
    with pytest.raises(UserError, match=f"^{path / name}: is a"):
        fetch(changed.download, tmp_path / "raw")
    for name_of_good, data in ALL.items():  # beside a whole source it is nobody's business
        (path / name_of_good).parent.mkdir(exist_ok=True)
        (path / name_of_good).write_bytes(data)
    check_layout(changed.download, "params.yaml")
    assert fetch(changed.download, tmp_path / "raw")["num_files"] == len(ALL)


def test_a_path_to_an_archive_that_is_not_read_is_reported_by_its_name(tmp_path, params):
    path = tmp_path / "rooms.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c")
    changed = make_params(params, path)
    why = r"rooms.7z:? is an archive of a kind that is not read; unpack it \(7z x rooms.7z\), and set download.path"
    with pytest.raises(ParamsError, match=why):
        require_inputs(changed, "params.yaml")
    with pytest.raises(UserError, match=why):
        fetch(changed.download, tmp_path / "raw")
