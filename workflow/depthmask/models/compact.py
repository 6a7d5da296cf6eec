"""The default network: small residual encoders, light decoders, one head per task.

Two trunks: one sees the scene, as the clean background if there is one, and predicts its depth; a smaller one sees everything,
with the scene's maps as hints, and predicts the mask and the depth of the subject. The mask then selects, pixel by pixel, which
depth counts. A single trunk for both tasks learnt the scene's depth far worse.

Designed for few cores: large maps are expensive, so only one convolution at the input and one at the output run at half the
image's size; everything else runs at a quarter or less, mostly depthwise-separable; the heads predict 2 x 2 (mask) or
4 x 4 (depth) pixels at once by pixel shuffle.

Priors on scenes: the place where an object meets the floor determines its distance, so every stage gets the coordinates of its
pixels, also as the depth at which a level camera would see the floor there; and an upright object has one depth, so the deepest
stage pools over each column, and over the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from depthmask.models.blocks import make_cbr, make_conv_norm
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

SCENE_MULTIPLES = (1, 3, 6, 10)  # channels at 1/2, 1/4, 1/8 and 1/16 of the size, in widths
SCENE_BLOCKS = (1, 2, 3)  # at 1/4, 1/8 and 1/16
FIGURE_MULTIPLES = (1, 2, 4, 6)
FIGURE_BLOCKS = (0, 1, 1)
ROW_MIN = 1 / 24  # of half the height: nearer to the horizon all floor is equally far
DEPTH_AT_START = 0.2  # typical of a room whose farthest wall is 1; only where training starts from


class SeparableBlock(nn.Module):
    """x + narrow(depthwise(widen(x))), each with batch norm: the inverted bottleneck of MobileNetV2."""

    def __init__(self, channels: int, widening: int = 2):
        super().__init__()
        inner = channels * widening
        self.widen = make_cbr(channels, inner, 1)
        self.depthwise = make_cbr(inner, inner, 3, groups=inner)
        self.narrow = make_conv_norm(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.depthwise(self.widen(x)))


class Context(nn.Module):
    """Adds to every pixel what two small perceptrons make of the means over its column, and over the whole image.

    The column's is the vertical half of strip pooling (Hou et al. 2020).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.of_picture = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.of_column = nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv1d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = x.mean(dim=2)
        return x + self.of_column(columns)[:, :, None] + self.of_picture(columns.mean(dim=2))[:, :, None, None]


class UpStep(nn.Module):
    """Enlarges a map to the size of the encoder's next one, twice its own or a pixel less, and joins the two by addition."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        self.reduce = nn.Conv2d(deep, skip, 1)
        self.refine = nn.Sequential(make_cbr(skip, skip), SeparableBlock(skip))

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.refine(F.interpolate(self.reduce(deep), skip.shape[-2:], mode="nearest") + skip)


class Place(nn.Module):
    """Adds to every pixel what a linear map makes of its place: row, distance from the middle column, log(1 / |row|).

    Rows run from -1 (top) to 1, columns from 0 to 1. The last is, up to a constant, the log of the depth at which a level
    camera sees floor (or ceiling) in that row.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Conv2d(3, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        places = {"device": x.device, "dtype": self.linear.weight.dtype}
        rows = ((torch.arange(height, **places) + 0.5) * (2 / height) - 1)[:, None].expand(height, width)
        columns = ((torch.arange(width, **places) + 0.5) * (2 / width) - 1).abs()[None].expand(height, width)
        place = torch.stack([rows, columns, -rows.abs().clamp(min=ROW_MIN).log()])
        return x + self.linear(place[None])


class Trunk(nn.Module):
    """Encoder and decoder: images to maps at half and at a quarter of their size.

    widths: channels at half the size and at each further halving; hints: channels that join at a quarter of the size.
    """

    def __init__(self, inputs: int, widths: Sequence[int], blocks: Sequence[int], dropout: float, hints: int = 0):
        super().__init__()
        half, quarter, *_ = widths
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stem = nn.Sequential(make_cbr(4 * inputs, half), Place(half))
        self.stages = nn.ModuleList(
            nn.Sequential(make_cbr(before, after, stride=2), Place(after), *(SeparableBlock(after) for _ in range(num_blocks)))
            for before, after, num_blocks in zip((half, quarter + hints, *widths[2:]), widths[1:], blocks)
        )
        self.context = Context(widths[-1])
        self.dropout = nn.Dropout2d(dropout)
        self.up_steps = nn.ModuleList(UpStep(deep, skip) for deep, skip in zip(widths[:1:-1], widths[-2:0:-1]))

    def forward(self, pictures: torch.Tensor, hints: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        at_half = self.stem(self.unshuffle(pictures))
        x, skips = at_half, []
        for stage in self.stages:
            x = stage(torch.cat([x, hints], dim=1) if hints is not None and len(skips) == 1 else x)
            skips.append(x)
        x = self.dropout(self.context(skips.pop()))
        for up_step in self.up_steps:
            x = up_step(x, skips.pop())
        return at_half, x


class CompactNet(nn.Module):
    """Image, and the clean background if asked for, to mask logits and depth; sizes are multiples of 16."""

    def __init__(self, settings: NetworkParams):
        super().__init__()
        scene, figure = (
            [settings.width * multiple for multiple in multiples] for multiples in (SCENE_MULTIPLES, FIGURE_MULTIPLES)
        )
        self.scene = Trunk(3, scene, SCENE_BLOCKS, settings.dropout)
        self.scene_head = make_depth_head(scene[1])
        self.figure = Trunk(6 if settings.background_input else 3, figure, FIGURE_BLOCKS, 0.0, hints=scene[1])
        self.to_half = nn.Conv2d(figure[1], figure[0], 1)
        self.mask_head = make_head(figure[0], enlargement=2)
        self.figure_head = make_depth_head(figure[1])

    @property
    def branches(self) -> dict[str, list[nn.Module]]:
        """The modules that serve one task alone; the trunk that sees the subject serves both."""
        return {"mask": [self.to_half, self.mask_head], "depth": [self.scene, self.scene_head, self.figure_head]}

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        _, scene = self.scene(image if background is None else background)
        pictures = image if background is None else torch.cat([image, background], dim=1)
        # the subject's losses must not affect the scene's maps
        at_half, figure = self.figure(pictures, scene.detach())
        mask_logits = self.mask_head(double_size(self.to_half(figure)) + at_half)
        depth_logits = torch.lerp(self.scene_head(scene), self.figure_head(figure), torch.sigmoid(mask_logits).detach())
        # a sigmoid is close to an exponential for near things, where a given ratio of depths matters most
        return Prediction(mask_logits, torch.sigmoid(depth_logits))


def make_head(channels: int, enlargement: int) -> nn.Sequential:
    """Channels to one channel, enlarged by pixel shuffle."""
    return nn.Sequential(make_cbr(channels, channels), nn.Conv2d(channels, enlargement**2, 1), nn.PixelShuffle(enlargement))


def make_depth_head(channels: int) -> nn.Sequential:
    """Gets the place once more; 4 x 4 logits at once, for a depth that starts near DEPTH_AT_START."""
    head = nn.Sequential(Place(channels), *make_head(channels, enlargement=4))
    nn.init.constant_(head[2].bias, math.log(DEPTH_AT_START / (1 - DEPTH_AT_START)))
    return head


def double_size(x: torch.Tensor) -> torch.Tensor:
    """Twice as high and wide, nearest neighbour."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
