"""A non-finite loss never reaches the weights, and a GPU never waits for the host to check for one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from depthmask.base.errors import DivergedError

CHECK_EVERY_STEPS = 50


class FiniteWatch:
    """Checks each step's loss before the optimiser updates the weights.

    On a CPU a bad loss is an error at once. On a GPU that would synchronise with the device: there the fused optimiser skips
    all updates after a bad loss (it reads `found_inf`, which gradient scaling normally sets), and the host checks every
    CHECK_EVERY_STEPS steps, and before anything is saved or reported.
    """

    def __init__(
        self, stage: str, names: Sequence[str], steps_per_epoch: int, optimizer: torch.optim.Optimizer, device: torch.device
    ):
        self.stage, self.names, self.steps_per_epoch = stage, names, steps_per_epoch
        self._bad: torch.Tensor | None = None
        self._values = torch.zeros(len(names) + 1)
        if device.type == "cuda":
            self.defer_checks(optimizer, device)

    def defer_checks(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Leave it to the optimiser, which must be fused, to skip updates."""
        self._bad = optimizer.found_inf = torch.zeros((), device=device)
        self._values = torch.zeros(len(self.names) + 1, dtype=torch.float64, device=device)

    def note(self, values: torch.Tensor, number: int) -> None:
        """Record a step's loss and terms, one vector. number: of the step within the phase, from 0.

        Raises:
            DivergedError: a loss is known to be infinite or NaN; it has not reached the weights.
        """
        if self._bad is None:
            if not torch.isfinite(values[0]):
                self._raise(values.tolist(), number)
            return
        is_bad = ~torch.isfinite(values[0])
        is_first = is_bad & (self._bad == 0)
        self._values[:-1] = torch.where(is_first, values.to(self._values), self._values[:-1])
        self._values[-1] = torch.where(is_first, float(number), self._values[-1])
        self._bad.copy_(torch.maximum(self._bad, is_bad.to(self._bad)))
        if (number + 1) % CHECK_EVERY_STEPS == 0:
            self.check()

    def check(self) -> None:
        """Synchronise with the device, and raise what `note` would have raised."""
        if self._bad is not None and self._bad.item():
            *values, number = self._values.tolist()
            self._raise(values, int(number))

    def _raise(self, values: Sequence[float], number: int) -> None:
        epoch, step = divmod(number, self.steps_per_epoch)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names[1:], values[1:]))
        raise DivergedError(
            f"{self.stage}: the loss is {values[0]} at epoch {epoch + 1}, step {step + 1} ({shown});"
            " lower its learning_rate or set clip_norm; the weights were not updated with it"
        )
