"""Archives spoiled at random: unpacked, or refused in a line; never a traceback, a hang, a file outside or one left behind.

Of each case the number decides everything: kind of archive, members, and what is done to it. Names, sizes, types, flags and
offsets are changed in their fields, and bytes anywhere.
"""

from __future__ import annotations

import io
import random
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from fuzzing import Tally, count_cases, run_in_process

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.download.unpack import unpack

SHORT = 1500
SECONDS = 10  # of a case; most take a few milliseconds
KINDS = ("zip", "stored zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
NAMES = (
    *("", ".", "..", "/", "//", "./", "../x", "a/../../x", "/etc/x", "C:x", "a\\b", "..\\x", "a/./b", "a//b", "a/", "b/a/.."),
    *("\\", "\\\\host\\x", "\\x", "C:\\x", "a\\..\\..\\x", "a\\", "bg\\1.jpg", "bg\\..\\1.jpg", "a\\b/c", "bg/Thumbs.db", "._x"),
    *("x" * 255, "x" * 256, "x" * 300, "é" * 130, "a/" * 20 + "x", "a/" * 3000 + "x", "n" * 5000, "a/" + "y" * 254 + "/z"),
    *(
        "a\x00b",
        "a\nb",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\u2028b",
        "nul",
        "con.txt",
        "a.",
        "a ",
        " a",
        "-rf",
        "~",
        "$HOME",
        "*",
        "é",
        "e\u0301",
    ),
    *("bg", "bg/1.jpg", "BG/1.JPG", "bg/1.jpg/x", "__MACOSX/x", "x.zip", "x.tar.gz", ".DS_Store", "\U0001f600.png", "\udcff.png"),
)
NUMBERS = (0, 1, 2, 7, 22, 30, 46, 255, 511, 512, 513, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
CENTRAL = {  # fields of a zip's directory: place and form
    "made by": (4, "H"),
    "needs": (6, "H"),
    "flags": (8, "H"),
    "method": (10, "H"),
    "crc": (16, "I"),
    "packed": (20, "I"),
    "size": (24, "I"),
    "name": (28, "H"),
    "extra": (30, "H"),
    "comment": (32, "H"),
    "attributes": (38, "I"),
    "offset": (42, "I"),
}
LOCAL = {"flags": (6, "H"), "method": (8, "H"), "crc": (14, "I"), "packed": (18, "I"), "size": (22, "I"), "name": (26, "H")}
END = {"here": (8, "H"), "in all": (10, "H"), "bytes": (12, "I"), "offset": (16, "I"), "comment": (20, "H")}
PAX = (
    "size",
    "path",
    "linkpath",
    "GNU.sparse.major",
    "GNU.sparse.map",
    "GNU.sparse.size",
    "GNU.sparse.realsize",
    "hdrcharset",
    "mtime",
    "uid",
)
PAX_VALUES = (
    "",
    "-1",
    "-1024",
    "0",
    "1",
    "99999999999999999999",
    "1e308",
    "nan",
    "x",
    "../x",
    "/x",
    "BINARY",
    "0,1,2",
    "9" * 5000,
    "a\x00b",
)


def make_members(rng):
    """Names and contents that are in order, with a folder and an empty file among them."""
    members = [
        (f"{folder}/{number}.jpg", rng.randbytes(rng.choice((0, 1, 40, 600, 3000))))
        for folder in ("bg", "fg")
        for number in range(3)
    ]
    return [*members, ("readme.txt", b"of no use" * 20)]


def write_zip(members, method):
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = name.encode(errors="replace").decode()  # past what ZipInfo would correct
            info.compress_type = method
            archive.writestr(info, content)
    return bytearray(data.getvalue())


def write_tar(members, rng, spoil):
    """spoil: how many members get a field of their header changed."""
    data = io.BytesIO()
    spoilt = set(rng.sample(range(len(members)), spoil))
    with tarfile.open(
        fileobj=data, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)), errors="surrogateescape"
    ) as archive:
        for number, (name, content) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if number in spoilt:
                spoil_header(info, rng)
            header = bytearray(info.tobuf(archive.format, "utf-8", "surrogateescape"))
            if number in spoilt and rng.random() < 0.4:
                spoil_size(header, rng)
            data.write(header)
            data.write(content + bytes(-len(content) % 512))
    return bytearray(data.getvalue() + bytes(1024))


def spoil_header(info, rng):
    what = rng.choice(("type", "link", "pax"))
    if what == "pax":
        info.pax_headers = {rng.choice(PAX): rng.choice(PAX_VALUES) for _ in range(rng.randint(1, 3))}
        return
    info.type = rng.choice((*b"01234567LKSxgXVM\0",)).to_bytes(1, "little") if what == "type" else rng.choice((b"1", b"2"))
    info.linkname = rng.choice((*(name for name in NAMES if len(name) < 100 and "\0" not in name), info.name, "bg/0.jpg"))


def spoil_size(header, rng):
    """The size of the last header block: octal digits, or a number of 12 bytes, which may be negative; the checksum fits."""
    at = len(header) - 512
    value = rng.choice(
        (
            b"77777777777\0",
            b"-0000000001\0",
            b"\xff" * 12,
            b"\x80" + b"\xff" * 11,
            b"zzz".ljust(12, b"\0"),
            b"%011o\0" % rng.choice(NUMBERS),
        )
    )
    header[at + 124 : at + 136] = value[:12].ljust(12, b"\0")
    header[at + 148 : at + 156] = b" " * 8
    header[at + 148 : at + 156] = b"%06o\0 " % sum(header[at : at + 512])


def spoil_zip(data, rng):
    """Change one to three fields of the directory, of local headers or of the end."""
    for _ in range(rng.randint(1, 3)):
        magic, fields = rng.choice(((b"PK\1\2", CENTRAL), (b"PK\1\2", CENTRAL), (b"PK\3\4", LOCAL), (b"PK\5\6", END)))
        places = [found.start() for found in re.finditer(re.escape(magic), data)]
        place, form = rng.choice(list(fields.values()))
        at = rng.choice(places) + place
        old = struct.unpack_from(f"<{form}", data, at)[0]
        new = rng.choice((*NUMBERS, old + 1, old - 1, old ^ (1 << rng.randrange(8 * struct.calcsize(form))), rng.getrandbits(32)))
        struct.pack_into(f"<{form}", data, at, new % (1 << 8 * struct.calcsize(form)))


def spoil_bytes(data, rng):
    """Flip, cut, repeat, insert or blank bytes anywhere."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data)), rng.choice((1, 1, 1, 4, 100, 512))
        match rng.randrange(6):
            case 0 | 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at : at + length] = rng.randbytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                data[at : at + length] = bytes(min(length, len(data) - at))
        if not data:
            return


def compress(data, kind):
    if "." not in kind:
        return bytes(data)
    out = io.BytesIO()
    opener = {"tar.gz": "gzip", "tar.bz2": "bz2", "tar.xz": "lzma"}[kind]
    with __import__(opener).open(out, "wb") as file:
        file.write(bytes(data))
    return out.getvalue()


def make_case(number):
    """The bytes of a case; and the contents that must come out if it is unpacked, where only names were changed."""
    rng = random.Random(number)
    kind, members, how = rng.choice(KINDS), make_members(rng), rng.choice(("names", "fields", "bytes", "all", "squeezed bytes"))
    if how in ("names", "all"):
        for _ in range(rng.randint(1, 3)):
            members[rng.randrange(len(members))] = (rng.choice(NAMES), rng.randbytes(50))
    if kind.endswith("zip"):
        data = write_zip(members, zipfile.ZIP_STORED if kind == "stored zip" else zipfile.ZIP_DEFLATED)
        if how in ("fields", "all"):
            spoil_zip(data, rng)
    else:
        data = write_tar(members, rng, rng.randint(1, 3) if how in ("fields", "all") else 0)
    if how in ("bytes", "all") and data:
        spoil_bytes(data, rng)
    data = bytearray(compress(data, kind))
    if how == "squeezed bytes":
        spoil_bytes(data, rng)
    kept = [content for name, content in members if not re.search(r"__MACOSX|\.DS_Store$|Thumbs\.db$|\._x$", name)]
    return bytes(data), sorted(kept) if how == "names" else None


@print_errors_as_lines
def unpack_case(argv):
    unpack(Path(argv[0]), Path(argv[1]), "case.zip")


@pytest.mark.slow
def test_archives_spoiled_at_random_are_unpacked_or_rejected(tmp_path):
    tally = Tally()
    broken = []
    for number in range(count_cases(SHORT)):
        data, contents = make_case(number)
        (tmp_path / "case").write_bytes(data)
        out = tmp_path / "some/where/out"
        outcome = run_in_process(unpack_case, [str(tmp_path / "case"), str(out)], SECONDS)
        tally.add(number, outcome)
        files = [path for path in tmp_path.rglob("*") if not path.is_dir() or path.is_symlink()]
        outside = [path for path in files if path != tmp_path / "case" and out not in path.parents]
        inside = [path for path in files if out in path.parents]
        if outside or any(path.is_symlink() for path in inside):
            broken.append(f"{number}: outside of the folder, or a link: {outside}")
        if outcome.kind == "refused" and (inside or "case.zip" not in outcome.text):
            broken.append(f"{number}: {len(inside)} files left after: {outcome.text}")
        if outcome.kind == "ran" and not inside:
            broken.append(f"{number}: nothing came out, and nothing was said")
        if outcome.kind == "ran" and contents is not None and sorted(path.read_bytes() for path in inside) != contents:
            broken.append(f"{number}: {len(inside)} files of {len(contents)} came out, and nothing was said")
        remove(tmp_path / "some")
    print(f"{len(broken)} broke a promise")
    tally.check("archives")
    assert not broken, "\n".join(broken[:10])


def remove(folder):
    """Deepest first: shutil's own way is a call within a call for each of thousands of folders."""
    if folder.exists():
        for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()
