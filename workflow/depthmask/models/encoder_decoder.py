"""A pretrained encoder with a light decoder for the scene's depth and one for the subject.

The encoder sees image and clean background with the same weights. As in `compact`, which these decoders are built like, the
scene's depth is read from the clean background where there is one; the subject's decoder sees the image's maps, what they differ
in from the background's, and the scene's map as a hint. A stem at half the image's size, which sees both images, gives the mask
its sharp edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from depthmask.encoders import make_encoder
from depthmask.models.blocks import make_cbr
from depthmask.models.compact import Context, Place, UpStep, double_size, make_depth_head, make_head
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams

SCENE_MULTIPLES = (2, 4, 6, 8)  # channels at 1/4 to 1/32 of the size, in widths
FIGURE_MULTIPLES = (2, 3, 4, 6)


class Decoder(nn.Module):
    """Maps at 1/4 to 1/32 of the size to one at 1/4; each is narrowed to its width and gets the coordinates of its pixels."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int], dropout: float):
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(make_cbr(before, after, 1), Place(after)) for before, after in zip(inputs, widths, strict=True)
        )
        self.context = Context(widths[-1])
        self.dropout = nn.Dropout2d(dropout)
        self.up_steps = nn.ModuleList(UpStep(deep, skip) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True))

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        *skips, x = (lateral(one) for lateral, one in zip(self.laterals, maps, strict=True))
        x = self.dropout(self.context(x))
        for up_step in self.up_steps:
            x = up_step(x, skips.pop())
        return x


class EncoderDecoder(nn.Module):
    """Image, and the clean background if asked for, to mask logits and depth; sizes are multiples of 4."""

    def __init__(self, settings: NetworkParams, encoder_config: Mapping[str, Any] | None = None):
        super().__init__()
        self.encoder = make_encoder(settings.encoder, encoder_config)
        scene, figure = ([settings.width * m for m in multiples] for multiples in (SCENE_MULTIPLES, FIGURE_MULTIPLES))
        num_images = 2 if settings.background_input else 1
        self.scene = Decoder(self.encoder.channels, scene, settings.dropout)
        self.scene_head = make_depth_head(scene[0])
        seen = [num_images * channels for channels in self.encoder.channels]
        self.figure = Decoder([seen[0] + scene[0], *seen[1:]], figure, 0.0)
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), make_cbr(12 * num_images, settings.width))
        self.to_half = nn.Conv2d(figure[0], settings.width, 1)
        self.mask_head = make_head(settings.width, enlargement=2)
        self.figure_head = make_depth_head(figure[0])

    @property
    def branches(self) -> dict[str, list[nn.Module]]:
        """The modules that serve one task alone; encoder and the subject's decoder serve both."""
        return {
            "mask": [self.stem, self.to_half, self.mask_head],
            "depth": [self.scene, self.scene_head, self.figure_head],
        }

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        images = image if background is None else torch.cat([image, background], dim=1)
        seen, of_scene = self._encode(image, background)
        scene = self.scene(of_scene)
        # the subject's losses must not affect the scene's map
        figure = self.figure([torch.cat([seen[0], scene.detach()], dim=1), *seen[1:]])
        mask_logits = self.mask_head(double_size(self.to_half(figure)) + self.stem(images))
        depth_logits = torch.lerp(self.scene_head(scene), self.figure_head(figure), torch.sigmoid(mask_logits).detach())
        return Prediction(mask_logits, torch.sigmoid(depth_logits))

    def _encode(self, image: torch.Tensor, background: torch.Tensor | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The maps that the subject's decoder sees, and those that the scene's sees."""
        if background is None:
            maps = self.encoder(image)
            return maps, maps
        if torch.compiler.is_exporting():  # a batch of twice the size would fix the size in the graph
            pairs = list(zip(self.encoder(image), self.encoder(background), strict=True))
        else:
            pairs = [both.chunk(2) for both in self.encoder(torch.cat([image, background]))]
        return [torch.cat([own, own - clean], dim=1) for own, clean in pairs], [clean for _, clean in pairs]
