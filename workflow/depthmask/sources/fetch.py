"""From a folder or an archive somewhere to a complete, checked copy in the project."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from rich.progress import track

from depthmask.errors import UserError
from depthmask.files import hash_file, hash_json, replace_folder, write_json
from depthmask.params import DownloadParams
from depthmask.sources import RECORD, SOURCES

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def fetch(download: DownloadParams, out: Path) -> dict:
    """Copy the source into `out`, whole or not at all, and return the record that stands beside it.

    Raises:
        UserError: the path is missing, its sha256 is another, it is not of the layout, or a file in it is no good.
    """
    path = Path(download.path)
    with tempfile.TemporaryDirectory(prefix="depthmask-") as scratch:
        archive_sha256 = None
        if path.is_dir():
            if download.sha256 is not None:
                raise UserError(f"{path}: is a folder, but download.sha256 is that of an archive; set it to null")
            root = path
        elif path.is_file() and path.name.lower().endswith(ARCHIVES):
            archive_sha256 = _check_sha256(path, download.sha256)
            root = _unpack(path, Path(scratch))
        elif path.exists():
            raise UserError(f"{path}: neither a folder nor an archive; allowed: a folder, {', '.join(ARCHIVES)}")
        else:
            raise UserError(f"{path}: no such folder or archive; set download.path")
        source = SOURCES[download.source](root, download)
        for _ in track(source.check(), "checking", total=len(source.backgrounds) + len(source.cutouts) + len(source.composites)):
            pass
        return _copy(source.files(), root, download, archive_sha256, out)


def _copy(files: list[Path], root: Path, download: DownloadParams, archive_sha256: str | None, out: Path) -> dict:
    _require_space(out, sum(file.stat().st_size for file in files))
    with replace_folder(out) as folder:
        names = {}
        for file in track(files, "copying"):
            name = file.relative_to(root)
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, folder / name)
            names[name.as_posix()] = hash_file(folder / name)
        record = {
            "download": download.model_dump(),
            "num_files": len(names),
            "sha256": hash_json(names),
            "archive_sha256": archive_sha256,
        }
        write_json(folder / RECORD, record)
    return record


def _check_sha256(path: Path, expected: str | None) -> str:
    found = hash_file(path)
    if expected is not None and found != expected:
        raise UserError(f"{path}: sha256 is {found}, but download.sha256 is {expected}; fetch the file again or correct the key")
    return found


def _unpack(path: Path, folder: Path) -> Path:
    """Unpack safely (no path or link leads outside) and return the folder that holds the layout."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _require_space(folder, sum(entry.file_size for entry in archive.infolist()))
                for entry in archive.infolist():
                    if Path(entry.filename).is_absolute() or ".." in Path(entry.filename).parts:
                        raise UserError(f"{path}: holds {entry.filename}, a path outside of it; do not trust this archive")
                archive.extractall(folder)
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path}: the archive cannot be unpacked ({error}); fetch it again") from error
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _require_space(where: Path, num_bytes: int) -> None:
    existing = next(parent for parent in (where, *where.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes > free:
        raise UserError(f"{existing}: {num_bytes / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; free some space")
