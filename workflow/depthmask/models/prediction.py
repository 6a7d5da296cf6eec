"""What every network gives."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Prediction(NamedTuple):
    """mask_logits: any real number, over 0 is foreground; depth: 0..1 of the source's maximum, larger is farther."""

    mask_logits_B1HW: torch.Tensor
    depth_B1HW: torch.Tensor
