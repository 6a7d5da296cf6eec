"""Measure the table of `depthmask.preflight.network_costs` again: python -m tools.measure_costs [--seconds]

Operations and bytes are counted, so they are the same on every machine; --seconds times a step on one thread as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.models.model_file import DepthMaskModel, count_parameters, make_model
from depthmask.params import NetworkParams
from depthmask.preflight.network_costs import BY_WIDTH, WIDTHS, Costs
from depthmask.registry.encoders import ENCODERS
from depthmask.registry.networks import NETWORKS

SIZE_PX, BATCH = 64, 2
CHANNELS = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}


def build(name: str, background: bool, width: int = 16) -> DepthMaskModel:
    """A new network to be measured, as training has it; name: of a network, or of an encoder of `encoder_decoder`."""
    encoder = name if name in ENCODERS else "efficientnet_lite0"
    name = "encoder_decoder" if name in ENCODERS else name
    settings = NetworkParams(name=name, width=width, dropout=0.05, background_input=background, encoder=encoder)
    model = make_model(settings, CHANNELS, {"unit": "metre", "max": 20.0})
    return model.train().to(memory_format=torch.channels_last)


def measure(model: DepthMaskModel) -> Costs:
    """Count the operations of a pass forward, and what it keeps for the way back.

    Of a sample more: whatever a batch has once, as weights in bfloat16, is not counted.
    """
    few, many = ([_count(model, batch, bfloat16) for bfloat16 in (False, True)] for batch in (BATCH, 2 * BATCH))
    pixels = BATCH * SIZE_PX**2
    (flops, kept), (_, kept_bfloat16) = (
        [round((more - less) / pixels) for less, more in zip(*pair, strict=True)] for pair in zip(few, many, strict=True)
    )
    return Costs(flops, kept, kept_bfloat16, count_parameters(model))


def measure_encoder(name: str) -> Costs:
    """Of `encoder_decoder`'s costs, those that the encoder has for one picture."""
    model = build(name, background=False)
    whole, encoder = measure(model), model.network.encoder
    encoder.requires_grad_(False).eval()
    frozen = measure(model)
    with FlopCounterMode(display=False) as counter:
        encoder(*_make_inputs(model, BATCH))
    return Costs(
        round(counter.get_total_flops() / (BATCH * SIZE_PX**2)),
        whole.bytes_float32 - frozen.bytes_float32,
        whole.bytes_bfloat16 - frozen.bytes_bfloat16,
        count_parameters(encoder),
    )


def _make_inputs(model: DepthMaskModel, batch: int) -> list[torch.Tensor]:
    pictures = torch.rand(1 + model.background_input, batch, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    return [picture.contiguous(memory_format=torch.channels_last) for picture in pictures]


def _count(model: DepthMaskModel, batch: int, bfloat16: bool) -> tuple[float, float]:
    """Operations, and bytes that are kept."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}  # by storage, since layers keep the same one; held, so that no number is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        model(*_make_inputs(model, batch))
    return counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def time_step(model: DepthMaskModel, bfloat16: bool) -> float:
    """Microseconds of this process for a pixel forward and backward, the best of four."""
    best = float("inf")
    for _ in range(4):
        since = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            outputs = model(*_make_inputs(model, BATCH))
        sum(values.float().sum() for values in outputs if isinstance(values, torch.Tensor)).backward()
        best = min(best, time.process_time() - since)
    return best / (BATCH * SIZE_PX**2) * 1e6


def _list_networks() -> Iterator[tuple[str, bool, int]]:
    """Every network and every encoder, with and without the background as far as it takes it, at the widths to measure it at."""
    for network, spec in NETWORKS.items():
        for name in ENCODERS if spec.has_encoder else (network,):
            for background in (False, True):
                if spec.takes_background if background else not spec.needs_background:
                    widths = WIDTHS if (name, background) in BY_WIDTH or spec.has_encoder else (16,)
                    yield from ((name, background, width) for width in widths)


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.measure_costs", description=__doc__)
    parser.add_argument("--seconds", action="store_true", help="also microseconds of a pixel, in float32 and in bfloat16")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    for name, background, width in _list_networks():
        try:
            model = build(name, background, width)
        except UserError as error:  # an optional package is missing
            print(f"{name}: {error}")
            continue
        shown = f"{name}, {'two pictures' if background else 'one picture'}, width {width}: {measure(model)}"
        if args.seconds:
            shown += ", us: " + ", ".join(f"{time_step(model, bfloat16):.2f}" for bfloat16 in (False, True))
        print(shown)
    for name in ENCODERS:
        print(f"{name} alone: {measure_encoder(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
