"""An external peer: the U-Net of segmentation_models_pytorch, a common first choice."""

from __future__ import annotations

import torch
from torch import nn

from depthmask.base.errors import UserError, format_install_command
from depthmask.models.prediction import Prediction
from depthmask.params import NetworkParams


class SmpUnet(nn.Module):
    """Image, or background and image, to mask logits and depth, by a U-Net on an untrained ResNet-18.

    It is made for three classes; of its channels the first is the mask's logits, the sigmoid of the second is the depth,
    and the third is given up: no loss reads it. Sizes are padded to multiples of 32; at 32 px the deepest map is one pixel,
    so batches of one cannot train there.

    Raises:
        UserError: the package, an optional one, is not installed.
    """

    def __init__(self, settings: NetworkParams):
        super().__init__()
        try:
            import segmentation_models_pytorch as smp
        except (ImportError, RuntimeError) as error:  # torchvision, which it needs, raises either if built for another torch
            install = format_install_command("peer")
            raise UserError(
                "model.name: smp_unet needs the package segmentation_models_pytorch, which cannot be imported"
                f" ({' '.join(str(error).split())}); {install}, with a torchvision made for the torch in use"
            ) from error
        channels = 6 if settings.background_input else 3
        self.unet = smp.Unet(encoder_name="resnet18", encoder_weights=None, in_channels=channels, classes=3)

    def forward(self, image: torch.Tensor, background: torch.Tensor | None = None) -> Prediction:
        maps = self.unet(image if background is None else torch.cat([background, image], dim=1))
        return Prediction(maps[:, :1], torch.sigmoid(maps[:, 1:2]))
