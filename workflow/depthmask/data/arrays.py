"""Depth (and masks) as numbers: .npy, .npz, .exr and .pfm.

What is read is H x W; nothing in a file is executed (`allow_pickle` is off), and sizes are checked before pixels are read.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.file_errors import name_errors
from depthmask.base.paths import find_fault_of_file

MAX_PIXELS = 100_000_000
# of the array that is meant, where a .npz has several: the first that is there
NAMES = {"depth": ("depth", "depth_map", "depthmap", "z"), "mask": ("mask", "alpha", "matte")}
MATRIX_SIDE = 4  # arrays of at most this are cameras
CHANNELS = ("z", "depth", "y", "v")  # likewise of the channel of an OpenEXR file
LAYER = "depth"  # of the channel that is meant, where several layers have one of that name
PFM_HEAD_BYTES_MAX = 200


def read_array(path: Path, kind: str = "depth") -> np.ndarray:
    """Read an array file as H x W of its own type: bool, integers, or float32 (of any floating-point type).

    kind: depth or mask, which decides which array of several is read.

    Raises:
        UserError: it is missing or damaged, too large, or does not hold one array of numbers H x W.
    """
    with name_errors(path, "array"):
        fault = find_fault_of_file(path)
        if fault is not None:
            raise UserError(f"{path}: {fault}")
        values = _read_npz(path, kind) if path.suffix.lower() == ".npz" else READERS[path.suffix.lower()](path)
        values = values.reshape(_fit_shape(path, values.shape))
        with np.errstate(over="ignore"):  # beyond float32 is infinity: unknown
            return np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else values.dtype.newbyteorder("="))


def measure_array(path: Path) -> tuple[int, int] | None:
    """Width and height from the header alone; None if the file must be read."""
    try:
        if find_fault_of_file(path) is None and path.suffix.lower() in (".npy", ".pfm"):
            with path.open("rb") as file:
                shape = _read_npy_head(path, file)[0] if path.suffix.lower() == ".npy" else _read_pfm_head(path, file)[0]
            height, width = _fit_shape(path, shape)
            return width, height
    except PermissionError:
        raise
    except Exception:  # read_array reports it
        return None
    return None


def _fit_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """The H x W of a shape whose other sides are 1."""
    sides = [side for side in shape if side != 1] if len(shape) > 2 else list(shape)
    if len(sides) != 2 or min(sides) < 2:
        shown = " x ".join(map(str, shape)) or "of one number"
        raise UserError(f"{path}: has the shape {shown}, not height x width; save one channel as a two-dimensional array")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise UserError(f"{path}: {sides[1]} x {sides[0]} is more than {MAX_PIXELS:,} values; shrink it")
    return sides[0], sides[1]


def _read_npy_head(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "buif":
        raise UserError(f"{path}: holds {'Python objects' if dtype.hasobject else dtype}, not numbers; save it as float32")
    return shape, dtype


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        _fit_shape(path, _read_npy_head(path, file)[0])
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path: Path, kind: str) -> np.ndarray:
    """The one array; of several the one that has a name of its kind, or the only one of the shape H x W."""
    with zipfile.ZipFile(path) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        heads: dict[str, tuple[int, ...]] = {}
        for name in members:
            with (
                archive.open(f"{name}.npy") as file,
                contextlib.nullcontext() if len(members) == 1 else contextlib.suppress(UserError),
            ):
                heads[name] = _read_npy_head(path, file)[0]  # of several, those that hold text or objects are passed over
        named = ([name for name in heads if name.lower() == wanted] for wanted in NAMES[kind])
        flat = [name for name, shape in heads.items() if sum(side > 1 for side in shape) == 2 and max(shape) > MATRIX_SIDE]
        chosen = next((names for names in (list(heads), *named, flat) if len(names) == 1), None)
        if chosen is None:
            listed = ", ".join(sorted(members)[:10]) or "none"
            raise UserError(f"{path}: holds {len(members)} arrays ({listed}) where one is expected; keep one, or call it {kind}")
        _fit_shape(path, heads[chosen[0]])
        with archive.open(f"{chosen[0]}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _read_pfm_head(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape, H x W x channels, and type; the scale's sign is the byte order, and its amount is not used."""
    words: list[bytes] = []
    read = 0
    while len(words) < 4 and read < PFM_HEAD_BYTES_MAX:
        line = file.readline(PFM_HEAD_BYTES_MAX)
        read += len(line) or PFM_HEAD_BYTES_MAX
        words += line.partition(b"#")[0].split()
    if len(words) != 4 or words[0] not in (b"Pf", b"PF"):
        raise UserError(f"{path}: is not a PFM file, which starts with Pf, width, height and scale; replace it")
    try:
        width, height, scale = int(words[1]), int(words[2]), float(words[3])
    except ValueError as error:
        raise UserError(f"{path}: damaged PFM file: width, height and scale are {b' '.join(words[1:])!r}; replace it") from error
    if min(width, height) < 1 or not scale:
        raise UserError(f"{path}: is not a PFM file: {width} x {height} pixels, scale {scale:g}; replace it")
    return (height, width, 3 if words[0] == b"PF" else 1), np.dtype("<f4" if scale < 0 else ">f4")


def _read_pfm(path: Path) -> np.ndarray:
    """Rows are stored from the bottom up."""
    with path.open("rb") as file:
        shape, dtype = _read_pfm_head(path, file)
        _fit_shape(path, shape[:2])
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        content = file.read(num_bytes)
    if len(content) < num_bytes:
        raise UserError(
            f"{path}: truncated PFM file: {len(content):,} of {num_bytes:,} bytes of pixels; copy or download it again"
        )
    values = np.frombuffer(content, dtype).reshape(shape)[::-1]
    return require_equal_channels(path, values) if shape[2] > 1 else values


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR  # late: few sources have such files

    with OpenEXR.File(str(path), header_only=True) as file:
        for part in file.parts:
            (left, top), (right, bottom) = (corner.tolist() for corner in part.header["dataWindow"])
            _fit_shape(path, (bottom - top + 1, right - left + 1))
            whole = [corner.tolist() for corner in part.header["displayWindow"]]
            if whole != [[left, top], [right, bottom]]:
                raise UserError(f"{path}: holds a window of the image only (dataWindow); save the whole image")
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {
            f"{number}.{name}" if len(file.parts) > 1 else name: channel.pixels
            for number, part in enumerate(file.parts)
            for name, channel in part.channels.items()
        }
        return _choose_channel(path, channels).copy()


def _choose_channel(path: Path, channels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The only channel, that of depth (of several layers, the one called so), or one of equal red, green and blue."""
    last = {name: name.rpartition(".")[2].lower() for name in channels}
    if len(channels) == 1:
        return next(iter(channels.values()))
    for names in ([name for name in channels if last[name] == wanted] for wanted in CHANNELS):
        deep = [name for name in names if name.lower().split(".")[-2:-1] == [LAYER]]
        for found in (names, deep):
            if len(found) == 1:
                return channels[found[0]]
    colours = {last[name]: pixels for name, pixels in channels.items()}
    if len(channels) in (3, 4) and {"r", "g", "b"} <= colours.keys() <= {"r", "g", "b", "a"}:
        return require_equal_channels(path, np.dstack([colours[name] for name in "rgb"]))
    listed = ", ".join(sorted(channels)[:10])
    raise UserError(f"{path}: holds {len(channels)} channels ({listed}) and not one called Z, depth or Y; save one channel")


def require_equal_channels(path: Path, values: np.ndarray) -> np.ndarray:
    """The first channel of H x W x C; raises UserError unless all are equal."""
    first = values[..., :1]
    same = (values == first) | (np.isnan(values) & np.isnan(first)) if values.dtype.kind == "f" else values == first
    if not same.all():
        raise UserError(f"{path}: {values.shape[2]} channels that differ where one is expected; save the values in one channel")
    return values[..., 0]


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _read_npy,
    ".exr": _read_exr,
    ".pfm": _read_pfm,
}
