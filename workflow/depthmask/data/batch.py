"""A batch of samples: as bytes from the loader, and as floats on the network's device.

Sources, composer and augmentation write a `ByteBatch` in place; the loader passes it on, and `ByteBatch.to` makes the `Batch`
that networks, losses and scores read. torch is imported late, because reading, packing and splitting do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from depthmask.data.sample import Origin

if TYPE_CHECKING:
    import torch

INSIDE = 128  # of 255: alpha from which a pixel counts as foreground
# how a sample's depth relates to the model's: the same scale; a scale and a shift of its own; the same of the inverse depth
ABSOLUTE, AFFINE, AFFINE_TO_INVERSE = range(3)


@dataclass(frozen=True)
class ByteBatch:
    """B samples of one height and width.

    image: uint8 B x H x W x 3, sRGB.
    mask: uint8 B x H x W, the cut-out's alpha of 255; the binary mask is mask >= INSIDE.
    depth: float32 B x H x W, 0..1 of the source's maximum, larger is farther, 0 where unknown.
    valid: bool B x H x W, where the depth is known.
    background: as image, the same view without the foreground; None if not requested.
    origins: B, in the same order.
    mask_known: bool B, whether the mask is known; where it is not, it is 0 everywhere. None: all are.
    relation: uint8 B, ABSOLUTE and so on, where sources with other depth scales are mixed; None: all ABSOLUTE. The depth of a
    sample that is not ABSOLUTE is not valid anywhere, so that nothing takes it for the model's; it is known up to a scale and a
    shift where `relative`, bool B x H x W, is true.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    valid: np.ndarray
    background: np.ndarray | None
    origins: list[Origin]
    mask_known: np.ndarray | None = None
    relative: np.ndarray | None = None
    relation: np.ndarray | None = None

    @classmethod
    def allocate(cls, num_samples: int, height: int, width: int, with_background: bool) -> ByteBatch:
        """Allocate a batch; its content is not set, except that every mask counts as known."""
        shape = (num_samples, height, width)
        image, background = (np.empty((*shape, 3), np.uint8) if wanted else None for wanted in (True, with_background))
        maps = np.empty(shape, np.uint8), np.empty(shape, np.float32), np.empty(shape, bool)
        return cls(image, *maps, background, [Origin("", "")] * num_samples, np.ones(num_samples, bool))

    def __len__(self) -> int:
        return len(self.image)

    def knows_mask(self, b: int) -> bool:
        """Whether the mask of sample b is known."""
        return self.mask_known is None or bool(self.mask_known[b])

    def read_alpha(self, b: int) -> np.ndarray:
        """The mask of sample b as float32 H x W, 0..1."""
        return self.mask[b].astype(np.float32) / np.float32(255)

    def to(self, device: torch.device | str, channels_last: bool = False) -> Batch:
        """Convert to the floats that a network takes, on the device."""
        import torch

        memory = torch.channels_last if channels_last else torch.contiguous_format

        def move(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(device, non_blocking=True)

        def make_map(values: torch.Tensor) -> torch.Tensor:
            return values[:, None].contiguous(memory_format=memory)

        background, relation = self.background, self.relation
        return Batch(
            image_B3HW=scale_images(move(self.image)).contiguous(memory_format=memory),
            mask_B1HW=make_map(move(self.mask).float().div_(255)),
            depth_B1HW=make_map(move(self.depth)),
            valid_B1HW=make_map(move(self.valid)),
            background_B3HW=None if background is None else scale_images(move(background)).contiguous(memory_format=memory),
            mask_known_B=None if self.mask_known is None else move(self.mask_known),
            relative_B1HW=None if relation is None else make_map(move(self.relative)),
            relation_B=None if relation is None else move(relation),
        )

    def pin_memory(self) -> ByteBatch:
        """A copy in pinned memory; called by torch's loader."""
        return replace(self, **{name: tensor.pin_memory().numpy() for name, tensor in self._wrap_arrays().items()})

    def __getstate__(self) -> dict[str, Any]:
        """For another process: as tensors, which torch passes in shared memory."""
        return self.__dict__ | self._wrap_arrays()

    def __setstate__(self, state: dict[str, Any]) -> None:
        import torch

        self.__dict__.update({name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in state.items()})

    def _wrap_arrays(self) -> dict[str, torch.Tensor]:
        """Tensors that share the arrays' memory."""
        import torch

        return {name: torch.from_numpy(value) for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True)
class Batch:
    """Samples as a network sees them: float32 images 0..1, mask 0..1, depth 0..1, valid bool; background as image, or None.

    mask_known: bool, whether a sample's mask is known; None: all are. relative and relation: as in `ByteBatch`.
    """

    image_B3HW: torch.Tensor
    mask_B1HW: torch.Tensor
    depth_B1HW: torch.Tensor
    valid_B1HW: torch.Tensor
    background_B3HW: torch.Tensor | None
    mask_known_B: torch.Tensor | None = None
    relative_B1HW: torch.Tensor | None = None
    relation_B: torch.Tensor | None = None

    def keep_for(self, stream: torch.cuda.Stream) -> Batch:
        """Return self, and keep its memory from being reused before `stream` is done with it."""
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is not None:
                tensor.record_stream(stream)
        return self


def scale_images(pixels_BHW3: torch.Tensor) -> torch.Tensor:
    """Bytes to float32 B x 3 x H x W, 0..1, on their device; the memory layout is kept."""
    return pixels_BHW3.float().div_(255).permute(0, 3, 1, 2)
