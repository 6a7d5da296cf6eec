"""No weight takes in a loss that is not finite, and no device waits for the host to see that it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from depthmask.base.errors import UserError

LOOK_EVERY = 50  # steps


class FiniteWatch:
    """SanityChecks at each step's loss before the optimiser does.

    On a CPU the loss is there, and a bad one is an error at once. On a GPU a look would make the device wait: there the
    fused optimiser itself leaves all weights as they are once a loss has been bad (it reads `found_inf`, as gradient scaling
    sets it), and the host looks every LOOK_EVERY steps, and before anything is saved or told.
    """

    def __init__(
        self, stage: str, names: Sequence[str], steps_per_epoch: int, optimizer: torch.optim.Optimizer, device: torch.device
    ):
        self.stage, self.names, self.steps_per_epoch = stage, names, steps_per_epoch
        self._bad: torch.Tensor | None = None
        self._values = torch.zeros(len(names) + 1)
        if device.type == "cuda":
            self.wait_with_looks(optimizer, device)

    def wait_with_looks(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Leave it to the optimiser, which must be a fused one, to skip its steps."""
        self._bad = optimizer.found_inf = torch.zeros((), device=device)
        self._values = torch.zeros(len(self.names) + 1, dtype=torch.float64, device=device)

    def note(self, values: torch.Tensor, number: int) -> None:
        """Take in a step's loss and terms, one vector. number: of steps of the phase before it.

        Raises:
            UserError: a loss is known to be infinite or not a number; no weight has taken it in.
        """
        if self._bad is None:
            if not torch.isfinite(values[0]):
                self._refuse(values.tolist(), number)
            return
        is_bad = ~torch.isfinite(values[0])
        is_first = is_bad & (self._bad == 0)
        self._values[:-1] = torch.where(is_first, values.to(self._values), self._values[:-1])
        self._values[-1] = torch.where(is_first, float(number), self._values[-1])
        self._bad.copy_(torch.maximum(self._bad, is_bad.to(self._bad)))
        if (number + 1) % LOOK_EVERY == 0:
            self.look()

    def look(self) -> None:
        """Wait for the device, and raise what `note` would have raised."""
        if self._bad is not None and self._bad.item():
            *values, number = self._values.tolist()
            self._refuse(values, int(number))

    def _refuse(self, values: Sequence[float], number: int) -> None:
        epoch, step = divmod(number, self.steps_per_epoch)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names[1:], values[1:]))
        raise UserError(
            f"{self.stage}: the loss is {values[0]} at epoch {epoch + 1}, step {step + 1} ({shown});"
            f" lower {self.stage}.learning_rate or set clip_norm; the weights were not changed by it"
        )
