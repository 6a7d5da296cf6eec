"""Archives that mean harm or are broken: each one line, nothing written outside; good ones give the same files."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from depthmask.download import unpack as unpacking
from depthmask.download.unpack import DamagedArchiveError, unpack
from depthmask.errors import UserError

FILES = {"top/bg/1.jpg": b"one" * 1000, "top/fg/2 é.png": b"two" * 500, "top/empty.txt": b""}


def write_zip(path, entries, mode=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode:
                info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def write_tar(path, members, how="w"):
    with tarfile.open(path, how) as archive:
        for name, data, changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def read_folder(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_every_kind_gives_its_files_and_is_recognised_without_its_name(tmp_path, kind):
    path = tmp_path / "no_suffix"
    if kind == "zip":
        write_zip(path, [*FILES.items(), ("__MACOSX/top/._1.jpg", b"junk")])
    else:
        write_tar(path, [(name, data, {}) for name, data in FILES.items()], f"w:{kind[4:]}" if "." in kind else "w")
    unpack(path, tmp_path / "out", "archive")
    assert read_folder(tmp_path / "out") == FILES
    assert not os.access(tmp_path / "out/top/bg/1.jpg", os.X_OK)


HARM = {
    "parent": (lambda p: write_zip(p, [("../out.txt", b"x")]), r"holds \.\./out.txt, a path outside"),
    "inner parent": (lambda p: write_zip(p, [("a/../../b", b"x")]), "a path outside"),
    "absolute": (lambda p: write_zip(p, [("/etc/x", b"x")]), "a path outside"),
    "drive letter": (lambda p: write_zip(p, [("C:/x", b"x")]), "a path outside"),
    "backslash": (lambda p: write_zip(p, [("..\\x", b"x")]), "a path outside"),
    "tar parent": (lambda p: write_tar(p, [("../x", b"x", {})]), "a path outside"),
    "tar absolute": (lambda p: write_tar(p, [("/x", b"x", {})]), "a path outside"),
    "tar link out": (
        lambda p: write_tar(p, [("a", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})]),
        "a link to /etc",
    ),
    "tar link up": (
        lambda p: write_tar(p, [("d/a", b"", {"type": tarfile.SYMTYPE, "linkname": "../../x"})]),
        r"a link to \.\./x",
    ),
    "hard link out": (lambda p: write_tar(p, [("a", b"", {"type": tarfile.LNKTYPE, "linkname": "../x"})]), r"a link to \.\./x"),
    "link and through it": (
        lambda p: write_tar(p, [("d", b"", {"type": tarfile.SYMTYPE, "linkname": "/tmp"}), ("d/x", b"x", {})]),
        "holds d/x, and d, a file and a folder of the same name",
    ),
    "device": (lambda p: write_tar(p, [("null", b"", {"type": tarfile.CHRTYPE})]), "a device or pipe"),
    "pipe": (lambda p: write_tar(p, [("pipe", b"", {"type": tarfile.FIFOTYPE})]), "a device or pipe"),
    "zip link out": (lambda p: write_zip(p, [("a", b"/etc/passwd")], stat.S_IFLNK | 0o777), "a link to /etc/passwd"),
    "zip device": (lambda p: write_zip(p, [("a", b"")], stat.S_IFCHR | 0o666), "a device or pipe"),
    "nested": (lambda p: write_zip(p, [("data_Part1.zip", b"x")]), "data_Part1.zip, an archive in an archive"),
    "nested tar": (lambda p: write_tar(p, [("inner.tar.gz", b"x", {})]), "an archive in an archive"),
    "twice": (lambda p: write_tar(p, [("a", b"x", {}), ("./a", b"y", {})]), "holds ./a twice"),
    "file and folder": (lambda p: write_tar(p, [("a", b"x", {}), ("a/b", b"y", {})]), "a file and a folder of the same name"),
    "7z": (lambda p: p.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50)), "is a 7z archive"),
}


@pytest.mark.parametrize("case", HARM)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_an_archive_should_not_hold_is_refused_and_nothing_is_written_outside(tmp_path, case):
    make, why = HARM[case]
    make(tmp_path / "harm")
    with pytest.raises(UserError, match=why) as error:
        unpack(tmp_path / "harm", tmp_path / "deep/out", "harm.zip")
    assert str(error.value).startswith("harm.zip: ") and "\n" not in str(error.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"harm", "deep"}
    assert {entry.name for entry in (tmp_path / "deep").iterdir()} <= {"out"}


def test_links_to_files_of_the_archive_become_copies(tmp_path):
    members = [
        ("d/link", b"", {"type": tarfile.SYMTYPE, "linkname": "../file"}),
        ("file", b"data", {}),
        ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "file"}),
    ]
    unpack(write_tar(tmp_path / "a.tar", members), tmp_path / "out", "a.tar")
    assert read_folder(tmp_path / "out") == {"d/link": b"data", "file": b"data", "hard": b"data"}
    assert not (tmp_path / "out/d/link").is_symlink()


def test_an_encrypted_zip_is_refused_before_anything_is_written(tmp_path):
    path = write_zip(tmp_path / "a.zip", [("ok.txt", b"x"), ("secret.txt", b"x")])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the central directory
    flags = struct.unpack_from("<H", data, at + 8)[0]
    struct.pack_into("<H", data, at + 8, flags | 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"holds secret.txt, an encrypted file; unpack it with its password"):
        unpack(path, tmp_path / "out", "a.zip")
    assert read_folder(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_bomb_is_stopped_by_its_ratio(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(unpacking, "RATIO_FROM_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    path = tmp_path / "bomb"
    if kind == "zip":
        write_zip(path, [("zeros", zeros)])
    else:
        write_tar(path, [("zeros", zeros, {})], "w:gz")
    with pytest.raises(UserError, match="over 200 times as many: a bomb"):
        unpack(path, tmp_path / "out", "bomb.zip")
    assert sum(len(data) for data in read_folder(tmp_path / "out").values()) <= 3 << 20


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_off_or_spoiled_anywhere_is_not_taken_for_a_shorter_one(tmp_path, kind):
    path, members = tmp_path / "whole", [(f"{number}.jpg", os.urandom(700), {}) for number in range(5)]
    if kind == "zip":
        write_zip(path, [(name, data) for name, data, _ in members])
    else:
        write_tar(path, members, "w:gz" if kind == "tar.gz" else "w")
    data = path.read_bytes()
    # a tar's blocks end at multiples of 512 and its members at some of them: the treacherous places
    cuts = [0, 1, 512, 700, 1536, 1600, 3072, 4608, len(data) // 2, *([] if kind == "tar" else [len(data) - 1])]
    for cut in (cut for cut in cuts if cut < len(data)):
        (tmp_path / "cut").write_bytes(data[:cut])
        with pytest.raises(DamagedArchiveError, match=r"cut.zip: .*fetch it again"):
            unpack(tmp_path / "cut", tmp_path / f"out{cut}", "cut.zip")
    spoiled = bytearray(data)
    spoiled[1540 if kind == "tar" else len(data) // 2] ^= 0xFF
    (tmp_path / "spoiled").write_bytes(spoiled)
    with pytest.raises(DamagedArchiveError):
        unpack(tmp_path / "spoiled", tmp_path / "out", "spoiled")


def test_no_room_is_told_before_a_file_is_written(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", [("zeros", bytes(50_000))])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 20_000}))
    with pytest.raises(UserError, match="free some space"):
        unpack(path, tmp_path / "out", "a.zip")
    assert read_folder(tmp_path / "out") == {}
