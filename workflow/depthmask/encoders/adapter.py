"""What the encoders of other libraries share: images of any side in, the four maps that `depthmask.encoders` promises out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REDUCTIONS = (4, 8, 16, 32)
COMMON_PX = (448, 896)  # a multiple of the usual patches and windows: 7, 8, 14, 16, 28, 32 px
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
WRAPPERS, WRAPPING_CLASSES = ("model", "encoder"), ("Model", "Encoder")  # names, and ends of names, of what only holds layers
POSITIONS = ("pos_embed", "position_embeddings")

Run = Callable[[nn.Module, Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Layout:
    """What an encoder's maps are like.

    channels: of each of its maps. reductions: how many times smaller each is than the image. multiple_px: what the image's sides
    must be multiples of. fixed_px: the only height and width that it takes, None if it takes others. order: the names of its
    modules as they first run.
    """

    channels: tuple[int, ...]
    reductions: tuple[float, ...]
    multiple_px: int
    fixed_px: tuple[int, int] | None
    order: tuple[str, ...]


def probe(make: Callable[[], nn.Module], run: Run, native_px: tuple[int, int]) -> Layout:
    """Look at an encoder's maps without memory for it; native_px: the height and width that it was made for.

    Raises:
        ValueError: it gives no maps.
    """
    with torch.device("meta"), torch.no_grad():
        backbone = make().eval()
        layout = _measure(backbone, run, COMMON_PX, None)
        if layout is not None:
            sides = 2 * layout.multiple_px, 3 * layout.multiple_px
            if _measure(backbone, run, sides, None) is None:
                layout = None
        layout = layout or _measure(backbone, run, native_px, native_px)
    if layout is None:
        raise ValueError(f"an encoder of the class {type(backbone).__name__} gives no maps of an image")
    return layout


def _measure(backbone: nn.Module, run: Run, size_px: tuple[int, int], fixed_px: tuple[int, int] | None) -> Layout | None:
    order: dict[str, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: order.setdefault(name))
        for name, module in backbone.named_modules()
    ]
    try:
        maps = run(backbone, torch.zeros(1, 3, *size_px))
        fits = bool(maps) and all(one.ndim == 4 and min(one.shape) > 0 for one in maps)
    except Exception:  # whatever a library raises on a size that it cannot take
        return None
    finally:
        for hook in hooks:
            hook.remove()
    if not fits:
        return None
    reductions = tuple(size_px[0] / one.shape[-2] for one in maps)
    multiple = math.lcm(*(int(r) for r in reductions if r == int(r)))
    return Layout(tuple(one.shape[1] for one in maps), reductions, multiple, fixed_px, tuple(order))


def choose_maps(reductions: Sequence[float]) -> tuple[int, ...]:
    """Which of an encoder's maps stand for 1/4, 1/8, 1/16 and 1/32 of the size.

    Those of the nearest resolution, of several the deepest. Where all have the same, as in a vision transformer, those at a
    quarter, a half, three quarters and the end of its depth, as DPT (Ranftl et al. 2021) takes them.
    """
    count = len(reductions)
    if len(set(reductions)) == 1:
        return tuple(math.ceil(count * part / len(REDUCTIONS)) - 1 for part in range(1, len(REDUCTIONS) + 1))
    return tuple(
        min(range(count), key=lambda index: (abs(math.log2(reductions[index] / wanted)), -index)) for wanted in REDUCTIONS
    )


class Adapter(nn.Module):
    """An encoder of another library. make: builds it; run: from it and images to all of its maps; layout: what they are like.

    Images are padded to multiples of 32 px, and resized where its patches or windows need another multiple; maps are resized
    where it has none of a resolution. Position embeddings are not trained: the gradient of resizing them is not deterministic on
    GPUs.
    """

    def __init__(self, make: Callable[[], nn.Module], run: Run, layout: Layout):
        super().__init__()
        self.layout, self.run = layout, run
        self.picks = choose_maps(self.layout.reductions)
        self.channels = tuple(self.layout.channels[index] for index in self.picks)
        self.backbone = make()
        for name, parameter in self.backbone.named_parameters():
            if any(word in name for word in POSITIONS):
                parameter.requires_grad_(False)

    @property
    def stages(self) -> list[nn.Module]:
        """Its layers with weights in the order in which they run: the patches' embedding or the stem, then the blocks."""
        order = {name: place for place, name in enumerate(self.layout.order)}
        layers = list(_list_layers(self.backbone, ""))
        return [module for _, module in sorted(layers, key=lambda layer: order.get(layer[0], len(order)))]

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        bottom, right = -height % max(REDUCTIONS), -width % max(REDUCTIONS)
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        padded, multiple = x.shape[-2:], self.layout.multiple_px
        found = self.run(self.backbone, _resize(x, self.layout.fixed_px or [-(-side // multiple) * multiple for side in padded]))
        maps = []
        for index, reduction in zip(self.picks, REDUCTIONS, strict=True):
            whole = _resize(found[index], [side // reduction for side in padded])
            maps.append(whole[..., : -(-height // reduction), : -(-width // reduction)])
        return maps


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def _list_layers(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers with weights that a module consists of, with their names; those of containers and wrappers one by one."""
    for name, child in module.named_children():
        if next(child.parameters(), None) is None:
            continue
        if isinstance(child, CONTAINERS) or name in WRAPPERS or type(child).__name__.endswith(WRAPPING_CLASSES):
            yield from _list_layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
