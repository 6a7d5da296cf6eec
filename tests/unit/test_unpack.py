"""Archives that mean harm or are broken: each one line, nothing written outside; good ones give the same files."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from depthmask.base.errors import UserError
from depthmask.download import unpack as unpacking
from depthmask.download.unpack import DamagedArchiveError, unpack

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
    "parent": (lambda p: write_zip(p, [("../out.txt", b"x")]), r"contains \.\./out.txt, a path outside"),
    "inner parent": (lambda p: write_zip(p, [("a/../../b", b"x")]), "a path outside"),
    "absolute": (lambda p: write_zip(p, [("/etc/x", b"x")]), "a path outside"),
    "drive letter": (lambda p: write_zip(p, [("C:/x", b"x")]), "a path outside"),
    "backslash": (lambda p: write_zip(p, [("..\\x", b"x")]), r"contains \.\.\\x, a path outside"),
    "backslash inside": (lambda p: write_zip(p, [("a\\..\\..\\x", b"x")]), "a path outside"),
    "absolute backslash": (lambda p: write_zip(p, [("\\x", b"x")]), "a path outside"),
    "share": (lambda p: write_zip(p, [("\\\\host\\share\\x", b"x")]), "a path outside"),
    "drive and backslash": (lambda p: write_zip(p, [("C:\\x", b"x")]), "a path outside"),
    "tar backslash": (lambda p: write_tar(p, [("..\\x", b"x", {})]), "a path outside"),
    "twice by separators": (lambda p: write_zip(p, [("a/b", b"x"), ("a\\b", b"y")]), r"contains a\\b twice"),
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
        "contains d/x, and d, a file and a folder of the same name",
    ),
    "device": (lambda p: write_tar(p, [("null", b"", {"type": tarfile.CHRTYPE})]), "a device or pipe"),
    "pipe": (lambda p: write_tar(p, [("pipe", b"", {"type": tarfile.FIFOTYPE})]), "a device or pipe"),
    "zip link out": (lambda p: write_zip(p, [("a", b"/etc/passwd")], stat.S_IFLNK | 0o777), "a link to /etc/passwd"),
    "zip device": (lambda p: write_zip(p, [("a", b"")], stat.S_IFCHR | 0o666), "a device or pipe"),
    "nested": (lambda p: write_zip(p, [("data_Part1.zip", b"x")]), "data_Part1.zip, an archive in an archive"),
    "nested tar": (lambda p: write_tar(p, [("inner.tar.gz", b"x", {})]), "an archive in an archive"),
    "twice": (lambda p: write_tar(p, [("a", b"x", {}), ("./a", b"y", {})]), "contains ./a twice"),
    "file and folder": (lambda p: write_tar(p, [("a", b"x", {}), ("a/b", b"y", {})]), "a file and a folder of the same name"),
    "7z": (lambda p: p.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50)), "is a 7z archive"),
}


@pytest.mark.parametrize("case", HARM)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_an_archive_should_not_hold_is_rejected_and_nothing_is_written_outside(tmp_path, case):
    make, why = HARM[case]
    make(tmp_path / "harm")
    with pytest.raises(UserError, match=why) as error:
        unpack(tmp_path / "harm", tmp_path / "deep/out", "harm.zip")
    assert str(error.value).startswith("harm.zip: ") and "\n" not in str(error.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"harm", "deep"}
    assert {entry.name for entry in (tmp_path / "deep").iterdir()} <= {"out"}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_back_slashes_are_separators(tmp_path, kind):
    entries = [("top\\bg\\1.jpg", b"one" * 30), ("top\\fg/2.png", b"two" * 30)]
    if kind == "zip":
        write_zip(tmp_path / "a", [("top\\", b""), ("top\\bg\\", b""), *entries])
    else:
        links = [("top\\fg\\link.jpg", b"", {"type": tarfile.SYMTYPE, "linkname": "..\\bg\\1.jpg"})]
        write_tar(tmp_path / "a", [*((name, data, {}) for name, data in entries), *links])
    unpack(tmp_path / "a", tmp_path / "out", "a.zip")
    links = {} if kind == "zip" else {"top/fg/link.jpg": b"one" * 30}
    assert read_folder(tmp_path / "out") == {name.replace("\\", "/"): data for name, data in entries} | links


def test_a_folder_as_dos_marks_it_is_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        info = zipfile.ZipInfo("bg")
        info.external_attr = 0x10
        archive.writestr(info, b"")
        archive.writestr("bg/1.jpg", b"one" * 30)
    unpack(tmp_path / "a", tmp_path / "out", "a.zip")
    assert read_folder(tmp_path / "out") == {"bg/1.jpg": b"one" * 30}


def test_utf_8_names_without_their_flag_are_read(tmp_path):
    data = bytearray(write_zip(tmp_path / "a", [("bg/Zimmer für 2.jpg", b"one" * 30)]).read_bytes())
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(magic) + place
        struct.pack_into("<H", data, at, struct.unpack_from("<H", data, at)[0] & ~0x800)
    (tmp_path / "a").write_bytes(data)
    unpack(tmp_path / "a", tmp_path / "out", "a.zip")
    assert list(read_folder(tmp_path / "out")) == ["bg/Zimmer für 2.jpg"]


def test_links_to_files_of_the_archive_become_copies(tmp_path):
    members = [
        ("d/link", b"", {"type": tarfile.SYMTYPE, "linkname": "../file"}),
        ("file", b"data", {}),
        ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "file"}),
    ]
    unpack(write_tar(tmp_path / "a.tar", members), tmp_path / "out", "a.tar")
    assert read_folder(tmp_path / "out") == {"d/link": b"data", "file": b"data", "hard": b"data"}
    assert not (tmp_path / "out/d/link").is_symlink()


def test_an_encrypted_zip_is_rejected_before_anything_is_written(tmp_path):
    path = write_zip(tmp_path / "a.zip", [("ok.txt", b"x"), ("secret.txt", b"x")])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the central directory
    flags = struct.unpack_from("<H", data, at + 8)[0]
    struct.pack_into("<H", data, at + 8, flags | 1)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"contains secret.txt, an encrypted file; unpack it with its password"):
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
    with pytest.raises(UserError, match="over 200 times as many: a zip bomb"):
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


def test_no_room_is_reported_before_a_file_is_written(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", [("zeros", bytes(50_000))])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 20_000}))
    with pytest.raises(UserError, match="free some space"):
        unpack(path, tmp_path / "out", "a.zip")
    assert read_folder(tmp_path / "out") == {}


def write_raw_zip(path, *names):
    """Names as they are, past what ZipInfo would correct."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, b"data" * 20)
    return path


def write_pax(path, headers, name="x"):
    return write_tar(path, [("first", b"x" * 600, {}), (name, b"y" * 600, {"pax_headers": headers})])


def write_negative_size(path):
    data = bytearray(write_tar(path, [("first", b"x" * 600, {}), ("back", b"y" * 600, {})]).read_bytes())
    at = data.index(b"back")
    data[at + 124 : at + 136] = b"\xff" * 11 + b"\x00"
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path.write_bytes(data)


def patch_zip(path, magic, place, form, change):
    """A zip of two members, one field of the last record of a kind changed."""
    write_zip(path, [("a.jpg", b"one" * 100), ("b.jpg", os.urandom(300))])
    data = bytearray(path.read_bytes())
    at = data.rindex(magic) + place
    value = change(struct.unpack_from(form, data, at)[0])
    struct.pack_into(form, data, at, value)
    path.write_bytes(data)


ODD = {
    "empty name": (lambda p: write_raw_zip(p, ""), "contains '', a name without letters"),
    "empty name in a tar": (lambda p: write_tar(p, [("", b"x", {})]), "contains '', a name without letters"),
    "300 bytes": (lambda p: write_raw_zip(p, "n" * 300), "contains n+...n+, a name of 300 bytes"),
    "300 bytes in a tar": (lambda p: write_tar(p, [("d/" + "n" * 300, b"x", {})]), "a name of 300 bytes"),
    "thousands deep": (lambda p: write_raw_zip(p, "a/" * 3000 + "x"), "a path of 3,001 nested folders"),
    "thousands deep in a tar": (lambda p: write_tar(p, [("a/" * 3000 + "x", b"x", {})]), "a path of 3,001 nested folders"),
    "escapes": (lambda p: write_raw_zip(p, "a\x1b[2Jb"), r"contains a\\x1b\[2Jb, a name with control characters"),
    "turned direction": (lambda p: write_raw_zip(p, "a\u202egpj.exe"), "a name with control characters"),
    "no utf-8": (lambda p: write_tar(p, [("a\udcff", b"x", {})]), "a name that is not UTF-8"),
    "the folder itself": (lambda p: write_raw_zip(p, "."), r"contains \., the folder itself"),
    "folder with bytes": (lambda p: write_raw_zip(p, "d/"), "contains d/, a folder with content"),
    "folder over a file": (lambda p: write_raw_zip(p, "a/b", "a"), "contains a, a file and a folder of the same name"),
    "no files": (lambda p: write_zip(p, []), "contains no file"),
    "only folders": (lambda p: write_tar(p, [("d", b"", {"type": tarfile.DIRTYPE})]), "contains no file"),
    "offset on": (lambda p: patch_zip(p, b"PK\5\6", 16, "<I", lambda at: at + 5), "would start before the file"),
    "offset back": (lambda p: patch_zip(p, b"PK\5\6", 16, "<I", lambda at: at - 5), "b.jpg runs into the directory"),
    "fewer listed": (lambda p: patch_zip(p, b"PK\5\6", 10, "<H", lambda num: num - 1), "lists 2 members, its end record 1"),
    "directory of no bytes": (lambda p: patch_zip(p, b"PK\5\6", 12, "<I", lambda _: 0), "cannot be unpacked"),
    "shared bytes": (lambda p: patch_zip(p, b"PK\1\2", 42, "<I", lambda _: 0), "whose bytes overlap another member"),
    "packed size": (lambda p: patch_zip(p, b"PK\1\2", 20, "<I", lambda num: num + 1), "b.jpg runs into the directory"),
    "unknown method": (
        lambda p: patch_zip(p, b"PK\1\2", 10, "<H", lambda _: 77),
        "contains b.jpg, compressed with the method 77",
    ),
    "checksum": (lambda p: patch_zip(p, b"PK\1\2", 16, "<I", lambda crc: crc ^ 1), "cannot be unpacked .*CRC.* at b.jpg"),
    "negative size": (write_negative_size, "contains back, with a negative size"),
    "negative pax size": (lambda p: write_pax(p, {"size": "-2048"}), "contains x, with a negative size"),
    "huge pax size": (lambda p: write_pax(p, {"size": "9" * 20}), "a zip bomb|cannot be unpacked"),
    "huge attribute": (lambda p: write_pax(p, {"comment": "x" * 100_000}), "a name or attributes of 100,0.. bytes"),
    "huge name": (lambda p: write_tar(p, [("n" * 100_000, b"x", {})]), "a name or attributes of 100,0.. bytes"),
    "pax path outside": (lambda p: write_pax(p, {"path": "../../x"}), r"contains \.\./\.\./x, a path outside"),
    "sparse": (
        lambda p: write_pax(p, {"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999", "GNU.sparse.numblocks": "1"}),
        "contains x, a sparse file",
    ),
    "old sparse": (lambda p: write_tar(p, [("x", b"y" * 600, {"type": tarfile.GNUTYPE_SPARSE})]), "contains x, a sparse file"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_archive_is_one_line_that_names_the_member_and_leaves_nothing(tmp_path, case):
    make, why = ODD[case]
    make(tmp_path / "odd")
    with pytest.raises(UserError, match=why) as error:
        unpack(tmp_path / "odd", tmp_path / "out", "odd.zip")
    assert str(error.value).startswith("odd.zip: ") and "\n" not in str(error.value) and len(str(error.value)) < 400
    assert {entry.name for entry in tmp_path.iterdir()} == {"odd"}


def test_odd_but_sound_names_are_read_as_they_are(tmp_path):
    names = [
        "./a//b.jpg",
        "A.jpg",
        "a.jpg",
        "e\u0301.jpg",
        "\u00e9.jpg",
        "dot.",
        " space ",
        "con",
        "n" * 255,
        "/".join("abcdefgh") + "/x",
    ]
    unpack(write_raw_zip(tmp_path / "odd", *names), tmp_path / "out", "odd.zip")
    assert sorted(read_folder(tmp_path / "out")) == sorted(["a/b.jpg", *names[1:]])


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_two_hundred_thousand_empty_files_are_rejected_in_a_moment(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(unpacking, "TINY_MAX", 1_000)  # a fiftieth of the limit and of the files
    names = [f"{number}.jpg" for number in range(4_000)]
    if kind == "zip":
        write_zip(tmp_path / "many", [(name, b"") for name in names])
    else:
        write_tar(tmp_path / "many", [(name, b"", {}) for name in names], "w:gz")
    with pytest.raises(UserError, match=r"many.zip: contains over 1,000 files of under 32 bytes, the last of them 1000.jpg"):
        unpack(tmp_path / "many", tmp_path / "out", "many.zip")
    assert not (tmp_path / "out").exists()


def test_members_and_folders_have_a_limit(tmp_path, monkeypatch):
    path = write_raw_zip(tmp_path / "many", *(f"{number}/x" for number in range(50)))
    for limit, why in (("MEMBERS_MAX", "over 20 files"), ("FOLDERS_MAX", "over 20 folders")):
        with monkeypatch.context() as patch, pytest.raises(UserError, match=f"many.zip: contains {why}"):
            patch.setattr(unpacking, limit, 20)
            unpack(path, tmp_path / "out", "many.zip")
    unpack(path, tmp_path / "out", "many.zip")


def test_links_to_a_large_file_are_a_bomb_too(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "RATIO_FROM_BYTES", 1 << 20)
    links = [(f"link{number}", b"", {"type": tarfile.LNKTYPE, "linkname": "large"}) for number in range(50)]
    path = write_tar(tmp_path / "bomb", [("large", bytes(1 << 19), {}), *links], "w:xz")
    with pytest.raises(UserError, match=r"bomb.zip: .*at link\d+, over 200 times as many: a zip bomb"):
        unpack(path, tmp_path / "out", "bomb.zip")
    assert not (tmp_path / "out").exists()


def test_what_is_only_passed_over_counts_for_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "RATIO_FROM_BYTES", 1 << 20)
    path = write_tar(tmp_path / "bomb", [("__MACOSX/x", bytes(8 << 20), {}), ("a", b"x" * 50, {})], "w:bz2")
    with pytest.raises(UserError, match="a zip bomb"):
        unpack(path, tmp_path / "out", "bomb.zip")


def test_the_bar_moves_by_members(tmp_path, monkeypatch):
    shown = []

    class Bar(unpacking.Bar):
        def start(self, done, total, what=None):
            shown.append((done, total))
            super().start(done, total, what)

        def advance(self, number=1, rate=""):
            shown.append(number)
            super().advance(number, rate)

    monkeypatch.setattr(unpacking, "Bar", Bar)
    unpack(write_raw_zip(tmp_path / "few", *(f"{number}.jpg" for number in range(5))), tmp_path / "out", "few.zip")
    assert shown == [(0, 5), 1, 1, 1, 1, 1]
