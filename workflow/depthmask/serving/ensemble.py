"""Several models that predict each photo together, and mirror images, averaged at the photo's size.

Shapes: photos are uint8 H x W x 3 sRGB, maps H x W; B photos in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthmask.base.errors import UserError
from depthmask.models.averaging import MapMean, find_common_depth
from depthmask.models.inference import PredictedMaps
from depthmask.serving.predictor import (
    PhotoPrediction,
    PhotoPredictor,
    Predictor,
    Shrunk,
    enlarge,
    explain_lack_of_memory,
    get_size,
)


@dataclass(frozen=True)
class SharedShrunk:
    """What each model sees of a photo, in their order. size_px: width and height of the original photo."""

    of_members: tuple[Shrunk, ...]
    size_px: tuple[int, int]

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Photos with equal sizes can be predicted together."""
        return tuple(size for shrunk in self.of_members for size in shrunk.sizes)


class Ensemble(PhotoPredictor):
    """The mean of what several models predict: of the mask's probabilities, and of the logarithms of depth.

    Each model sees the photo at its own size, with the clean background if it takes one; its maps are enlarged to the photo's
    size and averaged there. flip: each also predicts the mirror image. depth_max: the smallest of the models'. A prediction's
    network sizes are the largest of any model.

    Raises:
        UserError: there is no model, or depths of different scales cannot be averaged. names: of the models, for this.
    """

    def __init__(self, members: Sequence[Predictor], flip: bool = False, names: Sequence[str] = ()):
        if not members:
            raise UserError("no model file is named; name at least one")
        self.members, self.flip = tuple(members), flip
        names = names or [f"model {number}" for number in range(1, len(members) + 1)]
        self.depth_unit, self.depth_max = find_common_depth([member.card for member in members], names)
        self.batch_max = min(member.batch_max for member in members)
        self._passes = [
            (number, one)
            for number, member in enumerate(self.members)
            for one in ((member, member.mirrored()) if flip else (member,))
        ]

    @property
    def background_input(self) -> bool:
        """Whether a photo's clean background is required: if any of the models takes it."""
        return any(member.background_input for member in self.members)

    def predict_shrunk(self, photos: Sequence[SharedShrunk]) -> list[PhotoPrediction]:
        with explain_lack_of_memory(photos):
            # all at the networks' sizes first: at the photos' size only one photo's are in memory at a time
            small = [one.predict_small([photo.of_members[number] for photo in photos]) for number, one in self._passes]
            return [self._average(photo, maps) for photo, maps in zip(photos, zip(*small, strict=True), strict=True)]

    def _average(self, photo: SharedShrunk, small: Sequence[PredictedMaps]) -> PhotoPrediction:
        mean = MapMean()
        for (_, one), maps in zip(self._passes, small, strict=True):
            mean.add(*enlarge(maps, photo.size_px), one.depth_max / self.depth_max)
        mask, depth = (values[0, 0].numpy() for values in mean.take())
        return PhotoPrediction(
            mask=mask,
            depth=depth * np.float32(self.depth_max),
            depth_unit=self.depth_unit,
            depth_max=self.depth_max,
            network_size_px=max((get_size(shrunk.for_depth) for shrunk in photo.of_members), key=max),
            mask_network_size_px=max((get_size(shrunk.for_mask) for shrunk in photo.of_members), key=max),
            trained_field_of_view_deg=self.trained_field_of_view_deg,
        )

    def _shrink_read(self, photo: np.ndarray, clean: np.ndarray | None, names: tuple[str, str]) -> SharedShrunk:
        shrunk = [one._shrink_read(photo, clean if one.background_input else None, names) for one in self.members]
        return SharedShrunk(tuple(shrunk), (photo.shape[1], photo.shape[0]))
