"""Atomic file writes (temporary name, then rename), JSON and CSV, hashes, and folder locks."""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.file_errors import START_BYTES, find_fault_of_text, name_errors
from depthmask.base.paths import SPECIAL_KINDS, find_fault_of_file, name_special
from depthmask.base.process_identity import NAME, is_alive, is_ours, name_process

TEMPORARY = re.compile(rf"\..+\.(?P<process>{NAME})\.part", re.DOTALL)
LOCK = "lock"  # the file in a folder that is locked
LONGEST_NAME = 180  # bytes, so that prefix and suffix fit into the 255 of most file systems
FOREIGN_KEPT_S = 24 * 3600
SEPARATORS = (",", ";", "\t")  # of columns
DECLARED = re.compile(r"sep=(.)\r?\n?")  # a first line with which Excel declares the separator


def choose_cache() -> Path:
    """DEPTHMASK_CACHE, or depthmask/ in the user's cache folder; never inside a stage's outputs, which DVC removes.

    Raises:
        UserError: the environment does not name an absolute folder.
    """
    own = os.environ.get("DEPTHMASK_CACHE")
    if own:
        return Path(own)
    try:
        folders = (Path(os.environ.get("XDG_CACHE_HOME", "")), Path.home() / ".cache")
    except RuntimeError:  # neither HOME nor a system entry for this user
        folders = ()
    for folder in folders:
        if folder.is_absolute():  # the XDG specification says to ignore a relative one
            return folder / "depthmask"
    raise UserError("environment: neither XDG_CACHE_HOME nor HOME is an absolute path; set DEPTHMASK_CACHE to a folder")


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, else remove it.

    Raises:
        OSError: `path` is a folder, or the disk fails.
        UserError: `path` is a device, a pipe or a socket.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = _choose_temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _name_file(error, temporary, path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it replaces `path` if the block succeeds."""
    temporary = _choose_temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        _name_file(error, temporary, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _name_file(error: OSError, temporary: Path, path: Path) -> None:
    """Put the final file name into an error that names the temporary file, or none."""
    if error.filename2 is None and error.filename in (None, str(temporary)):
        error.filename = str(path)


def _choose_temporary(path: Path) -> Path:
    """A temporary name beside `path` that identifies this process; leftovers of dead processes are removed.

    Raises:
        UserError: `path` is a device, a pipe or a socket: root would replace /dev/null by a file.
    """
    special = name_special(path)
    if special in SPECIAL_KINDS.values():
        raise UserError(f"{path}: is {special}, and would be replaced by a file; choose another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute(), os.getpid())
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 8]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return path.with_name(f".{name}.{name_process()}.part")


@functools.lru_cache(maxsize=256)
def _remove_leftovers(folder: Path, _pid: int) -> None:
    """Cached, so once per folder and process: some folders are large and written to often."""
    for left in folder.glob(".*.part"):
        found = TEMPORARY.fullmatch(left.name)
        if found is not None and _is_left(left, found["process"]):
            remove_any(left)


def _is_left(path: Path, process: str) -> bool:
    """Whether a temporary file is abandoned. A file that may belong to another machine is given a day."""
    if is_ours(process):
        return not is_alive(process)
    try:
        return time.time() - path.lstat().st_mtime > FOREIGN_KEPT_S
    except OSError:
        return False


def remove_any(path: Path) -> None:
    """Remove a file, link or whole folder if it exists and permissions allow it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; bytes of file names that are not UTF-8 are escaped as in JSON."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `format_json` of a value, atomically."""
    write_text(path, format_json(value))


def format_json(value: Any) -> str:
    """Readable JSON in the given key order; numpy scalars must have been converted to Python numbers."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def read_regular_file(path: Path, bytes_max: int | None = None) -> bytes:
    """Read a file; a FIFO, device or socket is rejected, because reading it could block forever.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than `bytes_max` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # opening a FIFO would already block
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        if bytes_max is not None and status.st_size > bytes_max:
            raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, more than {bytes_max:,}", str(path))
        return file.read()


class JsonError(UserError, ValueError):
    """A file is not JSON. reason: why, in a few words, for callers that give their own remedy."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: is not JSON ({reason}); correct it, or recreate it")
        self.reason = reason


def read_json(path: Path) -> Any:
    """Read a JSON file; infinity, NaN and duplicate keys are errors.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        JsonError: it is not JSON.
    """
    try:
        content = read_regular_file(path)
        if (fault := find_fault_of_text(content)) is not None:
            raise JsonError(path, fault.removeprefix("line 1: ").removeprefix("is "))
        return parse_json(content.decode("utf-8-sig"))
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError(path, f"line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise JsonError(path, f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise JsonError(path, "lists and mappings nested too deeply") from error
    except ValueError as error:
        raise JsonError(path, str(error)) from error


def read_stage_json(path: Path) -> Any:
    """Read a JSON file that a stage made.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        UserError: it is missing, or is not JSON; says to run the stage.
    """
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run the stage that makes it") from error
    except JsonError as error:
        raise UserError(f"{path}: is not JSON ({error.reason}); run the stage that makes it again") from error


def parse_json(text: str) -> Any:
    """Parse JSON text; infinity, NaN and duplicate keys are errors.

    Raises:
        ValueError: it is not JSON; RecursionError: it is nested too deeply.
    """
    return json.loads(
        text,
        object_pairs_hook=_make_mapping,
        parse_constant=_reject_constant,
        parse_int=_parse_int,
        parse_float=_parse_float,
    )


def _make_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {twice[:60]!r}")
    return mapping


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _parse_int(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:60]} is too large")
    return number


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a header line and one line per row; a key that is not in `columns` is an error."""
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows below the header as mappings; all values are strings. See `iterate_csv`."""
    return list(iterate_csv(path))


def read_stage_csv(path: Path) -> list[dict[str, str]]:
    """`read_csv` of a table that a stage made; if it is missing, the UserError says to run the stage."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that makes it")
    return read_csv(path)


def iterate_csv(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows below the header as mappings; all values are strings. See `iterate_lines`."""
    yield from (row for _, row in iterate_lines(path))


def iterate_lines(path: Path, columns: tuple[str, ...] | None = None) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line in which each row below the header ends, and the row as a mapping; all values are strings.

    A byte order mark is skipped, and columns may be separated by semicolons or tabs, as Excel does in many countries. Empty rows
    are skipped, and columns without a name in which nothing is written. A row with too few fields has None as values, one with
    too many has the key None. columns: those that the table must have, in upper or lower case, even if it has no rows.

    Raises:
        UserError: the file is missing, not a file, not UTF-8 or not CSV, or has other columns; names the line.
    """
    fault = find_fault_of_file(path)
    if fault is not None:
        raise UserError(f"{path}: {fault}")
    with name_errors(path, "table"):
        try:
            with path.open("rb") as data:
                fault = find_fault_of_text(data.read(START_BYTES))
            if fault is not None:
                raise UserError(f"{path}: {fault}")
            with path.open(newline="", encoding="utf-8-sig") as text:
                first = text.readline()
                declared = DECLARED.fullmatch(first)
                header = text.readline() if declared else first
                separator = declared[1] if declared else _find_separator(header)
                rows = csv.reader(itertools.chain([header], text), delimiter=separator)
                names = [name.strip() for name in next(rows, [])]
                if columns is not None:
                    names = [name.lower() for name in names]
                    if tuple(name for name in names if name) != columns:
                        raise UserError(
                            f"{path}: line {1 + bool(declared)}: the columns are not {', '.join(columns)}; correct the line"
                        )
                for values in rows:
                    if any(value.strip() for value in values):
                        yield rows.line_num + bool(declared), _make_row(names, values)
        except csv.Error as error:
            raise UserError(f"{path}: is not CSV ({error}); correct it") from error
        except UnicodeDecodeError:
            with contextlib.suppress(OSError):
                read_regular_file(path).decode("utf-8")  # for the place within the whole file
            raise


def _make_row(names: list[str], values: list[str]) -> dict[Any, Any]:
    """As csv.DictReader does, but a column without a name has no key: what is written there is too many."""
    row: dict[Any, Any] = {name: None for name in names if name}
    row |= {name: value for name, value in zip(names, values) if name}
    more = [value for name, value in itertools.zip_longest(names, values, fillvalue="") if value and not name]
    return row | {None: more} if more else row


def _find_separator(header: str) -> str:
    """The separator that is in the header most often."""
    return max(SEPARATORS, key=lambda separator: (header.count(separator), separator == ","))


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def hold_lock(folder: Path, waiting: str | None = None, refusal: str | None = None) -> Iterator[None]:
    """Hold the lock of a folder, which is created if needed; the system releases the lock of a killed process.

    waiting: printed before waiting for another process. refusal: raised instead of waiting.

    Raises:
        UserError: another process holds it, and `refusal` is given.
    """
    from filelock import FileLock, Timeout  # late: takes an eighth of a second, and most stages do not need it

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        if refusal is not None:
            raise UserError(refusal) from error
        if waiting is not None:
            from depthmask.base.terminal import note  # late: most callers print nothing

            note(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
