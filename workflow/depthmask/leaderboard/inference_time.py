"""Measures how long a network takes for one image."""

from __future__ import annotations

import statistics
import time

import torch

from depthmask.models.model_file import DepthMaskModel

NUM_WARM, NUM_TIMED = 3, 30  # predictions of one image; fewer for a slow network, where a few agree well enough
TIMED_SECONDS = 5.0


@torch.inference_mode()
def measure_inference_ms(model: DepthMaskModel, size_px: int, device: torch.device, channels_last: bool) -> float:
    """Median milliseconds of one image of size_px, with its clean background if the model takes one, in float32."""
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device, memory_format=memory).eval()
    pictures = torch.rand(2, 1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    image, background = (picture.to(device).contiguous(memory_format=memory) for picture in pictures)
    times: list[float] = []
    until = None
    while len(times) < NUM_WARM + NUM_TIMED and (until is None or time.perf_counter() < until):
        began = time.perf_counter()
        model(image, background if model.background_input else None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - began)
        if len(times) == NUM_WARM:
            until = time.perf_counter() + TIMED_SECONDS
    return 1000 * statistics.median(times[NUM_WARM:] or times[-1:])
