"""Predicts the frames of a clip as they come: at most a batch of them is in memory.

Shapes: images are uint8 H x W x 3, maps H x W, all at the clip's size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.data.images import read_photo
from depthmask.models.inference import PredictedMaps
from depthmask.serving.predictor import Photo, PhotoPrediction, PhotoPredictor, Predictor, enlarge
from depthmask.video.background import find_background
from depthmask.video.clip import Clip, Frame
from depthmask.video.names import MEDIAN, describe_place
from depthmask.video.smoothing import Smoother

BATCH_SIZE = 8
BATCH_PIXELS_MAX = 16_000_000  # of the frames that are predicted together


@dataclass(frozen=True)
class PredictedFrame:
    """A frame with its prediction. number: from 0. time_s: of the clip. pts, duration: the same in ticks of its time base."""

    number: int
    time_s: float
    pts: int
    duration: int
    image: np.ndarray
    prediction: PhotoPrediction


def predict_video(
    predictor: PhotoPredictor,
    path: str | Path,
    background: Photo | tuple[float, float] | None = None,
    smooth_s: float | None = None,
    batch_size: int = BATCH_SIZE,
    skip_damaged: bool = False,
) -> Iterator[PredictedFrame]:
    """Yield every frame of a clip with its prediction, in order.

    background: a photo; the text "median", for the median of the whole clip; or (start, end) in seconds, for that of a part in
    which nobody is in view. smooth_s: steadies the maps with this time constant, see `smoothing`. skip_damaged: leave damaged
    frames out instead of raising.

    Raises:
        UserError: PyAV is not installed; the clip is missing, damaged or has no video; or as `predict` does.
    """
    clip = Clip(Path(path))
    if background is not None and not predictor.background_input:
        raise UserError("the model takes the image only; omit the background")
    if isinstance(background, tuple) or (isinstance(background, str) and background == MEDIAN):
        span = background if isinstance(background, tuple) else None
        background = find_background(clip, span, skip_damaged, lambda: None).image
    name = show_path(background) if isinstance(background, (str, Path)) else "the background"
    if isinstance(background, (str, Path)):
        background = read_photo(Path(background))  # once, whatever the models make of it
    smoother = None if smooth_s is None else Smoother(smooth_s)
    yield from predict_frames(predictor, clip, clip.read_frames(skip_damaged), background, smoother, batch_size, name)


def predict_frames(
    predictor: PhotoPredictor,
    clip: Clip,
    frames: Iterable[Frame],
    background: Photo | None,
    smoother: Smoother | None,
    batch_size: int,
    background_name: str = "the background",
) -> Iterator[PredictedFrame]:
    """Yield frames with their predictions, in order; a batch never has more pixels than BATCH_PIXELS_MAX, but one frame.

    background_name: for errors.
    """
    width, height = clip.size_px
    batch_size = max(1, min(batch_size, predictor.batch_max, BATCH_PIXELS_MAX // (width * height)))
    prepare = _Prepare(predictor, clip, background, background_name)
    for batch in _batch(frames, batch_size):
        images = [frame.read() for frame in batch]
        shrunk = [prepare(image) for image in images]
        if smoother is not None:
            size = max(shrunk[0].sizes, key=lambda shape: shape[0] * shape[1])[:2]
            shrunk = [dataclasses.replace(one, size_px=(size[1], size[0])) for one in shrunk]
        try:
            predictions = predictor.predict_shrunk(shrunk)
        except UserError as error:
            raise UserError(f"{describe_place(clip.path, batch[0].number, batch[0].time_s)}: {error}") from error
        for frame, image, prediction in zip(batch, images, predictions, strict=True):
            if smoother is not None:
                prediction = _steady(smoother, image, prediction, frame.time_s)
            yield PredictedFrame(frame.number, frame.time_s, frame.pts, frame.duration, image, prediction)


class _Prepare:
    """Resizes frames for the networks, and the clean background once: it is the same for all of them."""

    def __init__(self, predictor: PhotoPredictor, clip: Clip, background: Photo | None, name: str):
        self.predictor, self.clip, self.background, self.name = predictor, clip, background, name
        self._is_first = True

    def __call__(self, image: np.ndarray) -> Any:
        try:
            shrunk = self.predictor.shrink(image, self.background)
        except UserError as error:
            if not self._is_first:
                raise
            width, height = self.clip.size_px
            of = f"{show_path(self.clip.path)}, {width} x {height} px"
            raise UserError(str(error).replace("the photo", of).replace("the background:", f"{self.name}:")) from error
        one = self.predictor
        if self._is_first and self.background is not None and isinstance(one, Predictor) and one.mask_size_px == one.size_px:
            self.background = shrunk.for_depth.background  # resizing it again changes nothing
        self._is_first = False
        return shrunk


def _steady(smoother: Smoother, image: np.ndarray, prediction: PhotoPrediction, time_s: float) -> PhotoPrediction:
    """A prediction at the networks' size, steadied there and enlarged to the image's."""
    import cv2

    size = prediction.mask.shape[::-1]
    shown = image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask, depth = smoother.smooth(shown, prediction.mask, prediction.depth, time_s)
    depth_max = np.float32(prediction.depth_max)
    maps = PredictedMaps(*(torch.from_numpy(values)[None, None] for values in (mask, depth / depth_max)))
    mask, depth = (values[0, 0].numpy() for values in enlarge(maps, image.shape[1::-1]))
    return dataclasses.replace(prediction, mask=mask, depth=depth * depth_max)


def _batch(frames: Iterable[Frame], most: int) -> Iterator[tuple[Frame, ...]]:
    """As itertools.batched does, from Python 3.12 on."""
    rest = iter(frames)
    while batch := tuple(itertools.islice(rest, most)):
        yield batch
