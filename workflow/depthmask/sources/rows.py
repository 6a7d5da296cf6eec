"""Rows of one shape and type in a .npy file: appended one by one, read through a memory map."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy

from depthmask.base.errors import UserError


class RowWriter:
    """Appends rows in constant memory. On leaving the block the file is complete and on disk."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.typing.DTypeLike):
        self.path, self.row_shape, self.dtype, self.num_rows = path, row_shape, np.dtype(dtype), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._start = self._write_header()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._write_header() != self._start:
            raise AssertionError(f"{self.path}: the header has grown")  # numpy leaves room in it for any number of rows
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def add(self, row: np.ndarray) -> None:
        """Append a row of the declared shape and type."""
        if row.shape != self.row_shape or row.dtype != self.dtype:
            raise ValueError(f"{self.path}: a row of {row.shape} {row.dtype}, not {self.row_shape} {self.dtype}")
        self._file.write(np.ascontiguousarray(row).data)
        self.num_rows += 1

    def _write_header(self) -> int:
        """Write the header for the rows so far, and return where they begin."""
        self._file.seek(0)
        descr = npy.dtype_to_descr(self.dtype)
        shape = (self.num_rows, *self.row_shape)
        npy.write_array_header_1_0(self._file, {"descr": descr, "fortran_order": False, "shape": shape})
        return self._file.tell()


class RowFile:
    """The rows of a .npy file as `rows`, a memory-mapped array: opened in constant time, shared between processes.

    `read` copies a row from the page cache instead of through the map: the process's memory stays constant however many rows
    it reads, and no page is mapped for a row read once.

    Raises:
        UserError: the file is missing, or not a .npy file.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
            if npy.read_magic(self._file) != (1, 0):
                raise ValueError("unsupported .npy version")
            shape, _, dtype = npy.read_array_header_1_0(self._file)
            self._start = self._file.tell()
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            self.rows = np.frombuffer(self._map, dtype, int(np.prod(shape)), self._start).reshape(shape)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; run the pack stage again") from error
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); run the pack stage again") from error
        self._row_bytes = self.rows.dtype.itemsize * int(np.prod(shape[1:]))
        self._num_rows, self._descriptor = len(self.rows), self._file.fileno()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, number: int) -> np.ndarray:
        """A copy of one row."""
        row = np.empty(self.rows.shape[1:], self.rows.dtype)
        self.read_into(row, number)
        return row

    def read_into(self, row: np.ndarray, number: int) -> None:
        """Copy one row into a contiguous array of its shape and type."""
        if not 0 <= number < self._num_rows:
            raise IndexError(f"{self.path}: row {number} of {self._num_rows}")
        if os.preadv(self._descriptor, [row], self._start + number * self._row_bytes) != self._row_bytes:
            raise UserError(f"{self.path}: row {number} is truncated; run the pack stage again")
