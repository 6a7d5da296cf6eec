"""Estimates the memory of a prediction in advance: far above the available memory it would never finish."""

from __future__ import annotations

import contextlib
import weakref
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from depthmask.base.errors import UserError
from depthmask.models.model_file import DepthMaskModel, ModelCard
from depthmask.runs.hardware import find_memory_bytes

PROBE_PX = 256  # a size that every network accepts
OVERHEAD = 1.5  # extra memory of libraries: their own layouts, workspaces
KEPT_BYTES = 4 * 4  # per pixel and pass, until all passes are done: float32 mask and depth, at two sizes
MEMORY_INFO = Path("/proc/meminfo")


class _LiveBytes(TorchDispatchMode):
    """Tracks the peak bytes of live results; on the meta device, without computing anything."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self._known:
                storage = tensor.untyped_storage()
                self._known.add(storage)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._give_back, storage.nbytes())
        return result

    def _give_back(self, num_bytes: int) -> None:
        self.now -= num_bytes


def measure_bytes_per_pixel(card: ModelCard) -> float:
    """Bytes of memory per input pixel, measured by a pass on the meta device."""
    with torch.device("meta"):
        model = DepthMaskModel(card).eval()
        pictures = [torch.zeros(1, 3, PROBE_PX, PROBE_PX) for _ in range(1 + model.background_input)]
    with _LiveBytes() as live, torch.no_grad():
        model(*pictures)
    return OVERHEAD * live.most / PROBE_PX**2


def find_free_bytes() -> float:
    """Free memory for this process, within machine and process limits; infinity if unknown."""
    limits = [find_memory_bytes()]
    with contextlib.suppress(OSError, KeyError, ValueError):  # not Linux
        lines = dict(line.split(":", 1) for line in MEMORY_INFO.read_text().splitlines())
        limits.append(1024.0 * int(lines["MemAvailable"].split()[0]))
    return min(limits)


def fit_batch(card: ModelCard, side_px: int, num_passes: int = 1) -> int:
    """How many photos of side_px x side_px fit into half of the free memory.

    num_passes: over each photo, of all models and mirror images; they run one after another, and the maps of each are kept.

    Raises:
        UserError: a single one does not fit into all of it.
    """
    kept = KEPT_BYTES * (num_passes - 1)
    needed, free = (measure_bytes_per_pixel(card) + kept) * side_px**2, find_free_bytes()
    if needed > free:
        raise UserError(
            f"at {side_px} px the network would need about {needed / 1e9:.0f} GB of memory per photo, but"
            f" only {free / 1e9:.1f} GB are free; lower size_px or mask_size_px (it was trained at {card.image_size_px} px)"
        )
    return max(1, int(min(free / 2 / needed, 1 << 20)))
