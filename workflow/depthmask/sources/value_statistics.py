"""What the values of a source's masks, depth maps and cut-outs are, gathered while the files are read anyway.

Each class adds one picture at a time, is joined with those of other processes in order, and goes through JSON.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from depthmask.data.cutouts import OPAQUE, SIDE_WARNED_PX, Trimmed
from depthmask.data.images import MASK_THRESHOLD

LEVEL = 257  # of 65535: one of 255 levels
FOREGROUND = 32768  # of 65535: the lowest that rounds to MASK_THRESHOLD of 255
GREY_LEVELS = (8, 247)  # of 255: between them is neither background nor foreground, even after JPEG
BORDER_SHARE = 0.8  # of the picture's border that is foreground in a mask that looks inverted
SPECKS = 0.001  # of a mask's pixels
NUMBERS_MAX = 4  # distinct values, 0 among them
END = 0.02  # of the range of depth: a whole map within this at either end is of another scale
STEPS_PER_DECADE = 256  # of the histogram of floating-point depth: each step is 0.9 %
TILT_MIN = 0.02  # of the depth: what counts as nearer or farther


def _make_histogram() -> np.ndarray:
    return np.zeros(65536, np.int64)


@dataclass(eq=False)
class _Values:
    """num: pictures seen. first: a file that shows each peculiarity."""

    num: int = 0
    first: dict[str, str] = field(default_factory=dict)

    def join(self, other: Self) -> None:
        """Add what another process has seen after this one."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, np.ndarray):
                mine += value
            elif isinstance(mine, Counter):
                mine.update(value)
            elif isinstance(mine, dict):
                setattr(self, name, value | mine)
            else:
                setattr(self, name, mine + value)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, text and mappings; of histograms, what is not 0."""
        plain: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                value = {place: int(value[place]) for place in np.flatnonzero(value).tolist()}
            plain[name] = {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else value
        return plain

    @classmethod
    def from_json(cls, read: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        values = cls()
        for name, value in read.items():
            mine = getattr(values, name)
            if isinstance(mine, np.ndarray):
                mine[[int(place) for place in value]] = list(value.values())
            else:
                setattr(values, name, Counter({int(k): n for k, n in value.items()}) if isinstance(mine, Counter) else value)
        return values

    def _note(self, what: str, is_so: bool, path: Path | str) -> int:
        """1 if it is so, else 0; remembers the first file."""
        if is_so:
            self.first.setdefault(what, str(path))
        return int(is_so)


@dataclass(eq=False)
class MaskValues(_Values):
    """counts: pixels by alpha, of 65535. The others count masks, except num_grey_px and num_flat_px.

    empty: nothing is 128 of 255 or above; faint: of these, those with more than specks above 0; numbered: of these, those with so
    few values that they are numbers and not alpha. full: everything is. framed: most of the border is foreground, but not
    everything. grey: pixels within GREY_LEVELS; flat: of these, those with the value of their neighbours above and to the left,
    as in class numbers but hardly in soft edges. low, low_flat: the same of values above 0 and below GREY_LEVELS.
    """

    counts: np.ndarray = field(default_factory=_make_histogram)
    num_empty: int = 0
    num_faint: int = 0
    num_numbered: int = 0
    num_full: int = 0
    num_framed: int = 0
    num_grey_px: int = 0
    num_flat_px: int = 0
    num_low_px: int = 0
    num_low_flat_px: int = 0

    def add(self, alpha: np.ndarray, path: Path | str) -> None:
        """alpha: float32 H x W, 0..1, with the values of an 8- or 16-bit file."""
        self.num += 1
        bytes_HW = np.rint(alpha * 255).astype(np.uint8)
        if np.array_equal(bytes_HW / np.float32(255), alpha):
            self.counts[::LEVEL] += np.bincount(bytes_HW.ravel(), minlength=256)
        else:
            deep = np.rint(alpha.astype(np.float64) * 65535).astype(np.int64)
            self.counts += np.bincount(deep.ravel(), minlength=65536)
        inside = bytes_HW >= MASK_THRESHOLD
        share = float(inside.mean())
        self.num_empty += self._note("empty", share == 0, path)
        is_faint = share == 0 and float((alpha > 0).mean()) > SPECKS
        self.num_faint += self._note("faint", is_faint, path)
        self.num_numbered += self._note("numbered", is_faint and len(np.unique(alpha)) <= NUMBERS_MAX, path)
        self.num_full += self._note("full", share == 1, path)
        border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).mean()
        self.num_framed += self._note("framed", share < 1 and border > max(BORDER_SHARE, share), path)
        grey = (bytes_HW >= GREY_LEVELS[0]) & (bytes_HW <= GREY_LEVELS[1])
        low = (bytes_HW > 0) & (bytes_HW < GREY_LEVELS[0])
        here, above, beside = bytes_HW[1:, 1:], bytes_HW[:-1, 1:], bytes_HW[1:, :-1]
        flat = (here == above) & (here == beside)
        self.num_grey_px += int(np.count_nonzero(grey))
        self.num_flat_px += int(np.count_nonzero(grey[1:, 1:] & flat))
        self.num_low_px += int(np.count_nonzero(low))
        self.num_low_flat_px += int(np.count_nonzero(low[1:, 1:] & flat))


@dataclass(eq=False)
class DepthValues(_Values):
    """counts: known pixels by stored value; log_counts: those of floating-point files, by STEPS_PER_DECADE * log10(value).

    The others count maps, except num_px, num_unknown_px and num_band_px. eight_bits, floating: by the type of their values.
    blank: nothing is known. constant: one value. near_end, far_end: all is within END of 0 or of the maximum. lossy: JPEG and
    the like; band: their pixels that count as unknown because of compression. near_top, near_bottom: the middle or the bottom of
    the picture is nearer, as decoded.
    """

    counts: np.ndarray = field(default_factory=_make_histogram)
    log_counts: Counter[int] = field(default_factory=Counter)
    num_eight_bits: int = 0
    num_floating: int = 0
    num_blank: int = 0
    num_constant: int = 0
    num_near_end: int = 0
    num_far_end: int = 0
    num_lossy: int = 0
    num_near_top: int = 0
    num_near_bottom: int = 0
    num_px: int = 0
    num_unknown_px: int = 0
    num_band_px: int = 0

    def add(self, raw: np.ndarray, depth: np.ndarray, valid: np.ndarray, path: Path | str, num_band_px: int | None) -> None:
        """raw: H x W as stored. depth, valid: as `decode_depth` gives them. num_band_px: None if the file is lossless."""
        self.num += 1
        known = raw[valid]
        is_float = raw.dtype.kind == "f" or raw.dtype.itemsize > 2
        if is_float:
            positive = known[known > 0].astype(np.float64)
            steps, counts = np.unique(np.rint(np.log10(positive) * STEPS_PER_DECADE).astype(np.int64), return_counts=True)
            self.log_counts.update(dict(zip(steps.tolist(), counts.tolist(), strict=True)))
        else:
            counts = np.bincount(known)
            self.counts[: len(counts)] += counts
        self.num_eight_bits += self._note("eight_bits", raw.dtype.itemsize == 1, path)
        self._note("deep", raw.dtype.itemsize > 1 and not is_float, path)
        self.num_floating += self._note("floating", is_float, path)
        self.num_blank += self._note("blank", not known.size, path)
        self.num_constant += self._note("constant", known.size > 0 and known.min() == known.max(), path)
        measured = depth[valid]
        varies = known.size > 0 and known.min() < known.max()
        self.num_near_end += self._note("near_end", bool(varies and measured.max() < END), path)
        self.num_far_end += self._note("far_end", bool(varies and measured.min() > 1 - END), path)
        self.num_lossy += self._note("lossy", num_band_px is not None, path)
        self.num_px += raw.size
        self.num_unknown_px += raw.size - known.size
        self.num_band_px += num_band_px or 0
        middle, bottom = (_find_median(depth, valid, *rows) for rows in ((0.4, 0.6), (0.9, 1.0)))
        if middle is not None and bottom is not None:
            self.num_near_top += self._note("near_top", middle < bottom * (1 - TILT_MIN), path)
            self.num_near_bottom += int(bottom < middle * (1 - TILT_MIN))

    def list_values(self) -> tuple[np.ndarray, np.ndarray]:
        """The known values, float64 in increasing order, and how many pixels have each."""
        whole = np.flatnonzero(self.counts)
        steps = np.array(sorted(self.log_counts), np.float64)
        values = np.concatenate([whole, 10.0 ** (steps / STEPS_PER_DECADE)])
        counts = np.concatenate([self.counts[whole], [self.log_counts[step] for step in sorted(self.log_counts)]]).astype(
            np.int64
        )
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]


@dataclass(eq=False)
class CutoutValues(_Values):
    """Counts of cut-outs: trimmed: with empty canvas around; the others as in `Trimmed`; small: under SIDE_WARNED_PX."""

    num_trimmed: int = 0
    num_rectangles: int = 0
    num_hollow: int = 0
    num_small: int = 0
    num_faint: int = 0
    num_haloed: int = 0

    def add(self, trimmed: Trimmed, path: Path | str) -> None:
        """Count a cut-out."""
        self.num += 1
        figure = trimmed.figure
        self.num_trimmed += self._note("trimmed", trimmed.rgba.shape[:2] != trimmed.canvas, path)
        self.num_rectangles += self._note("rectangle", trimmed.is_rectangle, path)
        self.num_hollow += self._note("hollow", trimmed.is_hollow, path)
        self.num_small += self._note("small", max(figure.width, figure.height) < SIDE_WARNED_PX, path)
        self.num_faint += self._note("faint", trimmed.peak < OPAQUE, path)
        self.num_haloed += self._note("haloed", trimmed.is_haloed, path)


def find_quantile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    """The smallest value that at least this share (0..1) of the pixels do not exceed; there must be some."""
    below = np.cumsum(counts)
    return float(values[min(len(values) - 1, int(np.searchsorted(below, share * below[-1])))])


def _find_median(depth: np.ndarray, valid: np.ndarray, start: float, stop: float) -> float | None:
    """The median of the known depth in some of the rows, given as shares of the height; None if little is known there."""
    height = len(depth)
    rows = slice(int(start * height), max(int(start * height) + 1, int(stop * height)))
    known = depth[rows][valid[rows]]
    return float(np.median(known)) if 2 * known.size > depth[rows].size else None
