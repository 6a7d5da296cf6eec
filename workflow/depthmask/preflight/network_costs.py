"""The cost of a training step of each network, for estimates made without torch.

`python -m tools.measure_costs` remeasures the table; tests/unit/test_estimate.py compares it with the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from depthmask.params.model import ModelParams


@dataclass(frozen=True)
class Costs:
    """Per pixel of a sample at training size: floating-point operations of a forward pass, and bytes kept for the backward pass
    in float32 and in bfloat16. parameters: of the whole network.
    """

    flops: float
    bytes_float32: float
    bytes_bfloat16: float
    parameters: float


# (network, whether it gets the background)
COSTS: dict[tuple[str, bool], Costs] = {
    ("dilated_small", False): Costs(285280, 3516, 1766, 224688),
    ("dilated_plain", False): Costs(1138368, 7004, 3510, 893792),
    ("dilated_residual", False): Costs(1138368, 7004, 3510, 893792),
    ("dilated_depth_classes", False): Costs(1268416, 9036, 4522, 958816),
    ("resnet18_shuffle", False): Costs(1502560, 7964, 3990, 11497744),
    ("multi_dilation_unet", False): Costs(445024, 4412, 2214, 2317200),
    ("dense_concat", True): Costs(1899904, 7116, 3830, 24019618),
    ("branched_unet", True): Costs(2145280, 7880, 4084, 33389314),
    ("two_stream_separable", True): Costs(374496, 11352, 7340, 493408),
    # not measured, because its package is optional: from the published 21.6 GFLOP at 512 x 512 px
    ("smp_unet", False): Costs(165000, 1700, 850, 14_300_000),
    ("smp_unet", True): Costs(170000, 1700, 850, 14_300_000),
}
# of `compact` at three widths; a parabola through them is exact, because all channels are multiples of the width
COMPACT_WIDTHS = (8, 16, 32)
COMPACT: dict[bool, tuple[Costs, Costs, Costs]] = {
    False: (Costs(8462, 566, 283, 326372), Costs(31325, 1101, 550, 1263780), Costs(120254, 2169, 1085, 4971812)),
    True: (Costs(8894, 578, 289, 327236), Costs(32189, 1113, 556, 1265508), Costs(121982, 2181, 1091, 4975268)),
}


def is_measured(model: ModelParams) -> bool:
    """Whether the table has a row for a network; without one it gets no estimate, but trains all the same."""
    return model.name == "compact" or (model.name, model.background_input) in COSTS


def find_costs(model: ModelParams) -> Costs:
    """The costs of the network set by `model`; KeyError if not `is_measured`."""
    if model.name != "compact":
        return COSTS[model.name, model.background_input]
    measured = COMPACT[model.background_input]
    return Costs(**{name: _fit([getattr(costs, name) for costs in measured], model.width) for name in Costs.__dataclass_fields__})


def _fit(values: list[float], width: int) -> float:
    """Evaluate the parabola through the values at COMPACT_WIDTHS at another width (Lagrange)."""
    total = 0.0
    for value, at in zip(values, COMPACT_WIDTHS, strict=True):
        for other in COMPACT_WIDTHS:
            value *= (width - other) / (at - other) if other != at else 1
        total += value
    return max(0.0, total)
