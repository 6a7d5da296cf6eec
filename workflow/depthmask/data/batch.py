"""A batch on its way from the loader, as bytes, to the network, as floats on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from depthmask.data.sample import Maps, Sample


@dataclass(frozen=True)
class Batch:
    """Samples stacked: float32 images 0..1, mask 0..1, depth 0..1, valid bool; background as the image or None."""

    image_B3HW: torch.Tensor
    mask_B1HW: torch.Tensor
    depth_B1HW: torch.Tensor
    valid_B1HW: torch.Tensor
    background_B3HW: torch.Tensor | None
    keys: list[str]

    def to(self, device: torch.device | str, channels_last: bool = False) -> Batch:
        """A copy on a device; images in channels-last memory if asked."""
        memory = torch.channels_last if channels_last else torch.contiguous_format
        moved = {
            name: tensor.to(device, non_blocking=True).contiguous(memory_format=memory) for name, tensor in _tensors(self).items()
        }
        return replace(self, **moved)

    def keep_for(self, stream: torch.cuda.Stream) -> Batch:
        """Itself, whose memory the stream that it was made on does not reuse before `stream` is done with it."""
        for tensor in _tensors(self).values():
            tensor.record_stream(stream)
        return self


@dataclass(frozen=True)
class ByteBatch:
    """The same as it is loaded, in far fewer bytes: uint8 images, mask (alpha of 255); float32 depth; bool valid."""

    image_BHW3: torch.Tensor
    mask_BHW: torch.Tensor
    depth_BHW: torch.Tensor
    valid_BHW: torch.Tensor
    background_BHW3: torch.Tensor | None
    keys: list[str]

    def to(self, device: torch.device | str, channels_last: bool = False) -> Batch:
        """The floats that a network takes, made on the device."""
        memory = torch.channels_last if channels_last else torch.contiguous_format

        def scale(pixels: torch.Tensor) -> torch.Tensor:
            return pixels.to(device, non_blocking=True).float().div_(255)

        def scale_image(pixels: torch.Tensor) -> torch.Tensor:
            return scale(pixels).permute(0, 3, 1, 2).contiguous(memory_format=memory)

        return Batch(
            image_B3HW=scale_image(self.image_BHW3),
            mask_B1HW=scale(self.mask_BHW)[:, None].contiguous(memory_format=memory),
            depth_B1HW=self.depth_BHW.to(device, non_blocking=True)[:, None].contiguous(memory_format=memory),
            valid_B1HW=self.valid_BHW.to(device, non_blocking=True)[:, None].contiguous(memory_format=memory),
            background_B3HW=None if self.background_BHW3 is None else scale_image(self.background_BHW3),
            keys=self.keys,
        )

    def pin_memory(self) -> ByteBatch:
        """In memory from which a GPU copies by itself; the loader calls it."""
        return replace(self, **{name: tensor.pin_memory() for name, tensor in _tensors(self).items()})


def _tensors(batch: Batch | ByteBatch) -> dict[str, torch.Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def stack_maps(maps: Maps, keys: Sequence[str]) -> ByteBatch:
    """The maps as tensors, which share their memory."""
    background = None if maps.background is None else torch.from_numpy(maps.background)
    image, mask, depth, valid = (torch.from_numpy(m) for m in (maps.image, maps.mask, maps.depth, maps.valid))
    return ByteBatch(image, mask, depth, valid, background, list(keys))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size."""
    has_background = samples[0].background is not None
    return Batch(
        image_B3HW=_stack_images([s.image for s in samples]),
        mask_B1HW=torch.from_numpy(np.stack([s.mask for s in samples])[:, None]),
        depth_B1HW=torch.from_numpy(np.stack([s.depth for s in samples])[:, None]),
        valid_B1HW=torch.from_numpy(np.stack([s.valid for s in samples])[:, None]),
        background_B3HW=_stack_images([s.background for s in samples]) if has_background else None,
        keys=[s.key for s in samples],
    )


def _stack_images(images: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)
