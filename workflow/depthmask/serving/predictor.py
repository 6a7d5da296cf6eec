"""Predicts mask and depth of photos of any size, at their size.

A `Predictor` has one model; `ensemble.Ensemble` averages several, or mirror images; `loading.load` makes either.

Shapes: photos are uint8 H x W x 3 sRGB, maps H x W; B photos in a batch.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.failures import is_lack_of_memory
from depthmask.data.batch import scale_images
from depthmask.data.images import convert_photo, read_photo
from depthmask.models.averaging import mirror
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.models.model_file import ModelCard
from depthmask.models.prediction import resize_maps
from depthmask.params.model import fit_size
from depthmask.point_clouds.camera import choose_camera, find_trained_angle
from depthmask.point_clouds.points import METRE, SIDE_MAX_PX, PointCloud, make_points
from depthmask.serving.limits import COUNT_MAX

Photo = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class PhotoPrediction:
    """The prediction for one photo, at the photo's size.

    mask: float32 H x W, 0..1, probability of foreground, usable as alpha; the binary mask is mask >= 0.5.
    depth: float32 H x W in `depth_unit`, from 0 to `depth_max`; larger is farther; depth_max means that far or farther.
    depth_unit: metre, or relative (only ratios and order are meaningful). network_size_px, mask_network_size_px: width and
    height at which the network saw the photo for depth and mask; the maps have no finer detail. trained_field_of_view_deg: that
    depth in metres is meant for; None: not known. image: the photo, uint8 H x W x 3; None after `predict_shrunk`.
    """

    mask: np.ndarray
    depth: np.ndarray
    depth_unit: str
    depth_max: float
    network_size_px: tuple[int, int]
    mask_network_size_px: tuple[int, int]
    trained_field_of_view_deg: float | None = None
    image: np.ndarray | None = None

    def to_points(self, field_of_view_deg: float | None = None, side_max_px: int = SIDE_MAX_PX) -> PointCloud:
        """The photo as coloured points in space; `PointCloud.save` writes them to a file.

        field_of_view_deg: of the camera that took the photo, across its longer side; None: as the model was trained for. Another
        one scales depth in metres: see `choose_camera`.
        side_max_px: longest side of the grid of pixels that become points; in a larger photo, pixels are skipped.

        Raises:
            UserError: a number is out of range, or there is no image for the colours.
        """
        if self.image is None:
            raise UserError(
                "image: the prediction has none, and points need colours; use predict, or set it by dataclasses.replace"
            )
        camera = choose_camera(field_of_view_deg, self.trained_field_of_view_deg, self.depth_unit == METRE)
        points = make_points(
            self.image,
            self.mask,
            self.depth * np.float32(camera.depth_factor),
            unit=self.depth_unit,
            depth_max=self.depth_max * camera.depth_factor,
            detail_px=max(self.network_size_px),
            field_of_view_deg=camera.field_of_view_deg,
            side_max_px=side_max_px,
        )
        return replace(points, depth_factor=camera.depth_factor)


class View(NamedTuple):
    """A photo, and its clean background if the model takes one, at a size seen by the network."""

    image: np.ndarray
    background: np.ndarray | None


@dataclass(frozen=True)
class Shrunk:
    """What the network sees of a photo for depth and mask: the same, unless another size is requested.

    size_px: width and height of the original photo.
    """

    for_depth: View
    for_mask: View
    size_px: tuple[int, int]

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Photos with equal sizes can be predicted together."""
        return self.for_depth.image.shape, self.for_mask.image.shape


class PhotoPredictor:
    """What one model and several have in common: photos to maps, at the photos' size.

    A subclass says what it takes (`background_input`), how depth is meant (`depth_unit`, `depth_max`) and which models it has
    (`members`), resizes photos for its networks (`_shrink_read`) and predicts them (`predict_shrunk`). batch_max: upper limit
    on photos per pass.
    """

    background_input: bool
    depth_unit: str
    depth_max: float
    members: tuple[Predictor, ...]
    batch_max: int = COUNT_MAX

    @property
    def trained_field_of_view_deg(self) -> float | None:
        """That the models' depth in metres is meant for; None if their files do not say, or say different ones."""
        angles = {find_trained_angle((member.card.release or {}).get("params", {})) for member in self.members}
        return angles.pop() if len(angles) == 1 else None

    def predict(self, image: Photo, background: Photo | None = None) -> PhotoPrediction:
        """Predict one photo.

        image, background: a file, a PIL image, or uint8 H x W x 3 in sRGB. Files and PIL images are turned upright by their
        EXIF data. The background must have the photo's aspect ratio, but not its size.

        Raises:
            UserError: a file cannot be read, a background is missing, not wanted or of another aspect, or the maps are not
                finite.
            TypeError: unsupported type of image.
        """
        return self.predict_batch([image], [background])[0]

    def predict_batch(self, images: Sequence[Photo], backgrounds: Sequence[Photo | None] | None = None) -> list[PhotoPrediction]:
        """Predict photos of any sizes, batching those of equal network size; raises as `predict` does."""
        backgrounds = [None] * len(images) if backgrounds is None else backgrounds
        read = [self._shrink(*pair) for pair in zip(images, backgrounds, strict=True)]
        predictions = self.predict_shrunk([shrunk for _, shrunk in read])
        return [replace(one, image=photo) for one, (photo, _) in zip(predictions, read, strict=True)]

    def predict_video(
        self,
        path: str | Path,
        background: Photo | tuple[float, float] | None = None,
        smooth_s: float | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Yield every frame of a clip with its prediction, in order: see `depthmask.video.predicting.predict_video`."""
        # by name: the stage that predicts photos does not depend on what reads clips
        module = importlib.import_module("depthmask.video.predicting")
        return module.predict_video(self, path, background, smooth_s, **options)

    def shrink(self, image: Photo, background: Photo | None = None) -> Any:
        """Resize a photo for the network: whole, keeping its aspect ratio as far as the network's sizes allow."""
        return self._shrink(image, background)[1]

    def _shrink(self, image: Photo, background: Photo | None) -> tuple[np.ndarray, Any]:
        """The photo as it was read, and for the network."""
        if (background is not None) != self.background_input:
            one = len(self.members) == 1
            raise UserError(
                f"{'the model' if one else 'one of the models'} also takes the clean background; pass it with the photo"
                if self.background_input
                else f"{'the model takes' if one else 'the models take'} the image only; omit the background"
            )
        photo, clean = _read(image), None if background is None else _read(background)
        return photo, self._shrink_read(photo, clean, (_name(image, "the photo"), _name(background, "the background")))

    def predict_shrunk(self, photos: Sequence[Any]) -> list[PhotoPrediction]:
        """The same for photos prepared by `shrink`, in order."""
        raise NotImplementedError

    def _shrink_read(self, photo: np.ndarray, clean: np.ndarray | None, names: tuple[str, str]) -> Any:
        """names: of photo and background, for errors."""
        raise NotImplementedError


class Predictor(PhotoPredictor):
    """One model.

    size_px: longest side at which the network sees a photo; default: its training size. mask_size_px: the same for the mask, in a
    second pass if the size differs; default: size_px.

    Raises:
        UserError: the model file does not record its training size, and no size_px is given.
    """

    def __init__(self, run: Predict, card: ModelCard, size_px: int | None = None, mask_size_px: int | None = None):
        if not (size_px or card.image_size_px):
            raise UserError("the model file does not record its training size; set size_px")
        self._run, self.card = run, card
        self.engine = "torch"  # what computes, with its version if it is another
        self.fallbacks: Sequence[str] = ()  # a line for each size that torch computes instead
        self.size_px = self._fit(size_px or card.image_size_px)
        self.mask_size_px = self._fit(mask_size_px) if mask_size_px else self.size_px

    @property
    def background_input(self) -> bool:
        """Whether a photo's clean background is required."""
        return self.card.settings["background_input"]

    @property
    def model_card(self) -> str | None:
        """The model card (Markdown) in files written by `depthmask export`; None in those of the training stages."""
        return (self.card.release or {}).get("model_card")

    @property
    def depth_unit(self) -> str:
        return self.card.depth_unit

    @property
    def depth_max(self) -> float:
        return self.card.depth_max

    @property
    def members(self) -> tuple[Predictor, ...]:
        return (self,)

    def mirrored(self) -> Predictor:
        """The same model, which sees every photo mirrored left to right; its maps are mirrored back."""
        mirrored = copy.copy(self)
        mirrored._run = mirror(self._run)
        return mirrored

    def predict_shrunk(self, photos: Sequence[Shrunk]) -> list[PhotoPrediction]:
        with explain_lack_of_memory(photos):
            return [self._enlarge(*pair) for pair in zip(photos, self.predict_small(photos), strict=True)]

    def predict_small(self, photos: Sequence[Shrunk]) -> list[PredictedMaps]:
        """The maps of each photo (B = 1) at the sizes at which the network saw it for mask and depth."""
        views = {id(view): view for photo in photos for view in (photo.for_depth, photo.for_mask)}
        by_size: dict[tuple[int, ...], list[int]] = {}
        for key, view in views.items():
            by_size.setdefault(view.image.shape, []).append(key)
        predicted: dict[int, PredictedMaps] = {}
        for keys in self._cut(by_size.values()):
            maps = self._run(*_stack_views([views[key] for key in keys]))
            predicted |= {key: PredictedMaps(*(values[n : n + 1] for values in maps)) for n, key in enumerate(keys)}
        return [
            PredictedMaps(predicted[id(photo.for_mask)].mask_prob_B1HW, predicted[id(photo.for_depth)].depth_B1HW)
            for photo in photos
        ]

    def _cut(self, lists: Iterable[list[int]]) -> Iterator[list[int]]:
        """Split the lists into pieces of at most batch_max."""
        for keys in lists:
            yield from (keys[start : start + self.batch_max] for start in range(0, len(keys), self.batch_max))

    def _shrink_read(self, photo: np.ndarray, clean: np.ndarray | None, names: tuple[str, str]) -> Shrunk:
        for_depth = View(*(None if picture is None else self._resize(picture, self.size_px) for picture in (photo, clean)))
        if clean is not None and for_depth.background.shape != for_depth.image.shape:
            raise UserError(
                f"{names[1]}: aspect ratio differs from {names[0]}; take both from the same place with the same camera"
            )
        for_mask = for_depth
        if self.mask_size_px != self.size_px:
            image_view = self._resize(photo, self.mask_size_px)
            # from the photo's own size: a slightly different background could be rounded differently
            for_mask = View(image_view, None if clean is None else _resample(clean, *reversed(image_view.shape[:2])))
        return Shrunk(for_depth, for_mask, (photo.shape[1], photo.shape[0]))

    def _resize(self, photo: np.ndarray, longest_px: int) -> np.ndarray:
        height, width = photo.shape[:2]
        scale = longest_px / max(width, height)
        return _resample(photo, *(self._fit(max(1, round(side * scale))) for side in (width, height)))

    def _fit(self, side_px: int) -> int:
        return fit_size(self.card.settings["name"], side_px)

    def _enlarge(self, photo: Shrunk, maps: PredictedMaps) -> PhotoPrediction:
        mask, depth = (values[0, 0].numpy() for values in enlarge(maps, photo.size_px))
        return PhotoPrediction(
            mask=mask,
            depth=depth * np.float32(self.depth_max),
            depth_unit=self.depth_unit,
            depth_max=self.depth_max,
            network_size_px=get_size(photo.for_depth),
            mask_network_size_px=get_size(photo.for_mask),
            trained_field_of_view_deg=self.trained_field_of_view_deg,
        )


def enlarge(maps: PredictedMaps, size_px: tuple[int, int]) -> PredictedMaps:
    """Maps at another size, given as width and height."""
    width, height = size_px
    return PredictedMaps(*(resize_maps(values, height, width) for values in maps))


def get_size(view: View) -> tuple[int, int]:
    """Width and height."""
    return view.image.shape[1], view.image.shape[0]


@contextlib.contextmanager
def explain_lack_of_memory(photos: Sequence[Any] | str) -> Iterator[None]:
    """Turn allocation errors of numpy, torch or Pillow into a one-line UserError; photos: what is predicted, or a file."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        what = photos if isinstance(photos, str) else f"{len(photos)} photos" if len(photos) > 1 else "a photo"
        raise UserError(f"not enough memory for {what}; lower size_px, mask_size_px or the batch size") from error


def _name(photo: Photo, otherwise: str) -> str:
    return str(photo) if isinstance(photo, (str, Path)) else otherwise


def _read(photo: Photo) -> np.ndarray:
    if isinstance(photo, (str, Path)):
        with explain_lack_of_memory(str(photo)):
            return read_photo(Path(photo))
    if isinstance(photo, Image.Image):
        try:
            return convert_photo(photo)
        except Exception as error:  # PIL reads lazily, and the file may be damaged in any way
            raise UserError(f"cannot read the image ({' '.join(str(error).split())[:200]}); give another") from error
    if isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3 and photo.size:
        return photo
    what = f"{photo.dtype} {' x '.join(map(str, photo.shape))}" if isinstance(photo, np.ndarray) else type(photo).__name__
    raise TypeError(f"a photo is a file, a PIL image or uint8 H x W x 3, not {what}")


def _resample(photo: np.ndarray, width: int, height: int) -> np.ndarray:
    if photo.shape[:2] == (height, width):
        return photo
    shrinks = width < photo.shape[1] or height < photo.shape[0]
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(photo).resize((width, height), resampling))


def _stack_views(views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stack the images, and their clean backgrounds if the model takes them, of views of one size."""
    images, backgrounds = zip(*views, strict=True)
    return _stack_pictures(images), None if backgrounds[0] is None else _stack_pictures(backgrounds)


def _stack_pictures(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    return scale_images(torch.from_numpy(np.stack(pictures)))
