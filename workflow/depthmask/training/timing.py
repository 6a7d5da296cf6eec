"""Where the time of a step goes: loading, forward, backward, optimiser and each loss, measured only when asked for."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch


class Stopwatch:
    """Sums of seconds by name. Off, it does nothing; on, the device ends its work before each look at the clock.

    That changes no number of a training, and makes it slower on a GPU, which else works on while the next step is prepared.
    """

    def __init__(self, device: torch.device, is_on: bool):
        self.device, self.is_on = device, is_on
        self._epoch: dict[str, list[float]] = defaultdict(list)
        self._whole: dict[str, list[float]] = defaultdict(list)

    def measure(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Add what happens in the block to the time of `name`."""
        return self._measure(name) if self.is_on else contextlib.nullcontext()

    @contextlib.contextmanager
    def _measure(self, name: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self._epoch[name].append(time.perf_counter() - start)

    def _wait(self) -> None:
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
        """Mean seconds of each name over every epoch that has ended; empty when off."""
        return _average(self._whole)


def _average(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in seconds.items()}
