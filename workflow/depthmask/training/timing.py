"""Where the time of a step goes: loading, forward, backward, optimiser and each loss, measured only when asked for."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch


class Stopwatch:
    """Seconds by name. Off, it does nothing; on, it synchronises with the device before each reading of the clock.

    That changes no result, but slows training on a GPU, which otherwise works while the host prepares the next step.
    """

    def __init__(self, device: torch.device, is_on: bool):
        self.device, self.is_on = device, is_on
        self._epoch: dict[str, list[float]] = defaultdict(list)
        self._whole: dict[str, list[float]] = defaultdict(list)

    def measure(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Add the duration of the block to the time of `name`."""
        return self._measure(name) if self.is_on else contextlib.nullcontext()

    @contextlib.contextmanager
    def _measure(self, name: str) -> Iterator[None]:
        self._synchronize()
        start = time.perf_counter()
        yield
        self._synchronize()
        self._epoch[name].append(time.perf_counter() - start)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def end_epoch(self) -> dict[str, float]:
        """Mean seconds of each name since the last call, in the order in which they were first measured."""
        for name, seconds in self._epoch.items():
            self._whole[name] += seconds
        means = _average(self._epoch)
        self._epoch.clear()
        return means

    def summarise(self) -> dict[str, float]:
        """Mean seconds of each name over all completed epochs; empty when off."""
        return _average(self._whole)


def _average(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in seconds.items()}
