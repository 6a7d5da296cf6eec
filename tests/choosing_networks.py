"""Which networks `make test` looks at; `make test-all` looks at every one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

# published networks and recipes of them that are large, or that resemble a smaller one
SLOW = {
    *("branched_unet", "dense_concat", "dense_concat_bce", "dense_concat_upscaled", "dilated_plain", "dilated_residual"),
    *("multi_dilation_unet_explore", "picture_alone", "resnet18_shuffle"),
}


def mark_slow(names: Iterable[str], also: Iterable[str] = ()) -> list:
    """Networks or recipes as parameters of a test, the slow ones and `also` marked; a new one is not."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in {*SLOW, *also} else name for name in names]
