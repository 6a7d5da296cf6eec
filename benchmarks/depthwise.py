"""Gradients of depthwise convolutions: `encoders/depthwise.py` against nn.Conv2d's own, in one run, turn by turn.

    PYTHONPATH=workflow python benchmarks/depthwise.py [--batch 16] [--size 112] [--repeats 7] [--threads 2]

Each depthwise convolution of efficientnet_lite0 at the size that it has in it, forward and backward; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from depthmask.encoders import make_encoder
from depthmask.encoders.depthwise import DepthwiseConv2d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=112, help="side of the images in pixels")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| precision | kernel, stride | nn.Conv2d, ms | ours, ms | ratio |\n| --- | --- | ---: | ---: | ---: |")
    for precision in ("float32", "bfloat16"):
        totals: dict[str, list[float]] = {}
        for conv, size in list_convolutions(args.size):
            kind = f"{conv.kernel_size[0]} x {conv.kernel_size[0]}, {conv.stride[0]}"
            times = measure(conv, (args.batch, conv.in_channels, *size), precision == "bfloat16", args.repeats)
            for name in (kind, "all"):
                totals[name] = [one + other for one, other in zip(totals.get(name, [0.0, 0.0]), times, strict=True)]
        for kind, (plain, ours) in sorted(totals.items()):
            print(f"| {precision} | {kind} | {plain * 1e3:.1f} | {ours * 1e3:.1f} | {plain / ours:.1f} |")


def list_convolutions(side: int) -> list[tuple[DepthwiseConv2d, torch.Size]]:
    """The depthwise convolutions of an encoder, and the height and width of what each gets for images of `side` px."""
    encoder, found = make_encoder("efficientnet_lite0").eval(), []
    layers = [module for module in encoder.modules() if isinstance(module, DepthwiseConv2d)]
    hooks = [layer.register_forward_hook(lambda conv, inputs, _: found.append((conv, inputs[0].shape[-2:]))) for layer in layers]
    with torch.inference_mode():
        encoder(torch.zeros(1, 3, side, side))
    for hook in hooks:  # else each measurement would add one more
        hook.remove()
    return found


def measure(conv: DepthwiseConv2d, shape: tuple[int, ...], bfloat16: bool, repeats: int) -> list[float]:
    """Seconds forward and backward: of nn.Conv2d, and of ours."""
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups, bias=False
    )
    plain.load_state_dict(conv.state_dict())
    x = torch.rand(shape).contiguous(memory_format=torch.channels_last).requires_grad_(True)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):  # the first is not counted
        for layer, spent in zip((plain, conv), times, strict=True):
            layer.to(memory_format=torch.channels_last)
            since = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                out = layer(x)
            out.backward(torch.ones_like(out))
            spent.append(time.perf_counter() - since)
    return [statistics.median(spent[1:]) for spent in times]


if __name__ == "__main__":
    main()
