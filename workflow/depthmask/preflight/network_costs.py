"""The cost of a training step of each network, for estimates made without torch.

`python -m tools.measure_costs` remeasures the table; tests/unit/test_estimate.py compares it with the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from depthmask.params.model import NetworkParams
from depthmask.registry.networks import NETWORKS


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
# at three widths; a parabola through them is exact, because all channels but the encoder's are multiples of the width
WIDTHS = (8, 16, 32)
# (`compact`, or the encoder of `encoder_decoder`, and whether it gets the background)
BY_WIDTH: dict[tuple[str, bool], tuple[Costs, Costs, Costs]] = {
    ("compact", False): (Costs(8462, 566, 283, 326372), Costs(31325, 1101, 550, 1263780), Costs(120254, 2169, 1085, 4971812)),
    ("compact", True): (Costs(8894, 578, 289, 327236), Costs(32189, 1113, 556, 1265508), Costs(121982, 2181, 1091, 4975268)),
    ("efficientnet_lite0", False): (
        Costs(18253, 1892, 946, 3138164),
        Costs(27641, 2150, 1075, 3562436),
        Costs(63325, 2664, 1332, 5145956),
    ),
    ("efficientnet_lite0", True): (
        Costs(33324, 3530, 1765, 3159316),
        Costs(43279, 3788, 1894, 3604740),
        Costs(80100, 4302, 2151, 5230564),
    ),
    ("efficientnet_lite1", False): (
        Costs(22928, 2358, 1179, 3902836),
        Costs(32316, 2615, 1308, 4327108),
        Costs(68000, 3130, 1565, 5910628),
    ),
    ("efficientnet_lite1", True): (
        Costs(42673, 4461, 2231, 3923988),
        Costs(52629, 4719, 2359, 4369412),
        Costs(89449, 5233, 2617, 5995236),
    ),
    ("efficientnet_lite2", False): (
        Costs(25825, 2459, 1229, 4541940),
        Costs(35239, 2716, 1358, 4970884),
        Costs(70975, 3231, 1615, 6563748),
    ),
    ("efficientnet_lite2", True): (
        Costs(48453, 4665, 2332, 4565076),
        Costs(58445, 4922, 2461, 5017156),
        Costs(95340, 5437, 2718, 6656292),
    ),
}

# of an encoder alone, for one picture: contained in the rows above
ENCODERS_ALONE: dict[str, Costs] = {
    "efficientnet_lite0": Costs(14502, 1598, 799, 2958848),
    "efficientnet_lite1": Costs(19177, 2063, 1032, 3723520),
    "efficientnet_lite2": Costs(22048, 2163, 1082, 4357952),
}
NUM_STAGES = 5  # of each of them


def is_measured(model: NetworkParams) -> bool:
    """Whether the tables have a row for a network; without one it gets no estimate, but trains all the same."""
    return _make_key(model) in BY_WIDTH or _make_key(model) in COSTS


def find_costs(model: NetworkParams) -> Costs:
    """The costs of the network set by `model`; KeyError if not `is_measured`."""
    key = _make_key(model)
    if key not in BY_WIDTH:
        return COSTS[key]
    measured = BY_WIDTH[key]
    return Costs(**{name: _fit([getattr(costs, name) for costs in measured], model.width) for name in Costs.__dataclass_fields__})


def find_frozen_costs(model: NetworkParams, frozen_stages: int | str) -> Costs:
    """What of `find_costs` belongs to an encoder that is not trained at all; nothing if some of its stages are."""
    is_frozen = frozen_stages == "all" or frozen_stages >= NUM_STAGES
    if not (NETWORKS[model.name].has_encoder and is_frozen and model.encoder in ENCODERS_ALONE):
        return Costs(0, 0, 0, 0)
    num_pictures, alone = 1 + model.background_input, ENCODERS_ALONE[model.encoder]
    return Costs(
        num_pictures * alone.flops,
        num_pictures * alone.bytes_float32,
        num_pictures * alone.bytes_bfloat16,
        alone.parameters,
    )


def _make_key(model: NetworkParams) -> tuple[str, bool]:
    return model.encoder if NETWORKS[model.name].has_encoder else model.name, model.background_input


def _fit(values: list[float], width: int) -> float:
    """Evaluate the parabola through the values at WIDTHS at another width (Lagrange)."""
    total = 0.0
    for value, at in zip(values, WIDTHS, strict=True):
        for other in WIDTHS:
            value *= (width - other) / (at - other) if other != at else 1
        total += value
    return max(0.0, total)
