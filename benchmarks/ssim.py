"""How long SSIM of a batch takes on the CPU, its gradient included: the images as a batch, and as channels of one image.

    PYTHONPATH=workflow python benchmarks/ssim.py [--batch 16] [--repeats 9] [--threads 2]

Both are pytorch-msssim's and give the same number; the second is what the loss `ssim` does.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from pytorch_msssim import ssim

from depthmask.losses.maps import ssim as our_loss

SIZES_PX = (80, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"batches of {args.batch}, {args.threads} threads, torch {torch.__version__}; medians of {args.repeats}, taken in turn")
    print("| px | as a batch, ms | as channels, ms | ratio |\n| ---: | ---: | ---: | ---: |")
    for size_px in SIZES_PX:
        batch, channels = time_both(args.batch, size_px, args.repeats)
        print(f"| {size_px} | {batch:.1f} | {channels:.1f} | {batch / channels:.1f} |")


def time_both(batch_size: int, size_px: int, repeats: int) -> list[float]:
    """Medians in milliseconds, forward and backward: as a batch, as channels."""
    found, target = torch.rand(2, batch_size, 1, size_px, size_px).unbind()
    found.requires_grad_()
    known = torch.ones_like(target, dtype=torch.bool)
    losses = (lambda: 1 - ssim(found, target, data_range=1.0), lambda: our_loss(found, target, known))
    taken: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for seconds, compute in zip(taken, losses, strict=True):
            begun = time.perf_counter()
            compute().backward()
            seconds.append(time.perf_counter() - begun)
    return [1000 * statistics.median(seconds[1:]) for seconds in taken]


if __name__ == "__main__":
    main()
