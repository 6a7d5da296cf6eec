"""Predicts many photos, in batches of one size; an error in one of them does not affect the others."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.file_errors import explain_os_error
from depthmask.base.paths import show_path
from depthmask.data.images import read_photo
from depthmask.serving.ensemble import SharedShrunk
from depthmask.serving.predictor import PhotoPrediction, PhotoPredictor, Shrunk
from depthmask.serving.selection import BACKGROUND, Selected

WAITING_PIXELS_MAX = 50_000_000  # at most this many pixels of photos wait for others of the same size


@dataclass(frozen=True)
class Models:
    """The loaded models by whether they take the clean background, with their files: of one kind, or of each.

    Several of a kind are an ensemble.
    """

    predictors: dict[bool, PhotoPredictor]
    paths: dict[bool, tuple[Path, ...]]

    def choose(self, has_background: bool) -> PhotoPredictor:
        """The models for a photo with or without a clean background; the only ones if there is no choice."""
        return self.predictors.get(has_background) or next(iter(self.predictors.values()))

    @property
    def engines(self) -> list[str]:
        """What computes them: torch, or others with their versions."""
        return sorted({member.engine for predictor in self.predictors.values() for member in predictor.members})

    @property
    def batch_max(self) -> int:
        return min(predictor.batch_max for predictor in self.predictors.values())


@dataclass(frozen=True)
class Loaded:
    """A loaded photo: its models, its background file, its pixels (uint8 H x W x 3), and both at the networks' sizes."""

    predictor: PhotoPredictor
    photo: Selected
    background: Path | None
    image: np.ndarray
    shrunk: Shrunk | SharedShrunk


def predict_photos(
    models: Models,
    photos: Sequence[Selected],
    background: Path | None,
    batch_size: int,
    report: Callable[[str], None],
    bugs: list[Exception],
) -> Iterator[tuple[Loaded | Selected, PhotoPrediction | str]]:
    """Yield each photo with its prediction, or why it failed, which is also passed to `report`; in order except failures.

    Whatever a photo raises, the others are predicted; what is a fault of the program is added to `bugs`.

    Consecutive photos of the same model and network size are predicted together, at most batch_size.
    """
    waiting: list[Loaded] = []

    def fail(photo: Selected, error: Exception) -> tuple[Selected, str]:
        reason = show_path(explain(photo.path, error))
        report(reason)
        bugs.extend([error] if is_bug(error) else [])
        return photo, reason

    def predict_waiting():
        batch = list(waiting)
        waiting.clear()
        try:
            if batch:
                yield from zip(batch, batch[0].predictor.predict_shrunk([loaded.shrunk for loaded in batch]))
            return
        except Exception as error:
            if len(batch) == 1:
                photo = batch[0].photo
                yield fail(photo, UserError(f"{photo.path}: {error}") if isinstance(error, UserError) else error)
                return
        for loaded in batch:  # one by one, so that a bad photo does not affect others
            waiting.append(loaded)
            yield from predict_waiting()

    for photo in photos:
        try:
            loaded = _load(models.choose((background or photo.background) is not None), photo, background)
        except Exception as error:
            yield fail(photo, error)
            continue
        num_pixels = sum(other.image.size // 3 for other in (*waiting, loaded))
        if waiting and (_get_kind(loaded) != _get_kind(waiting[0]) or num_pixels > WAITING_PIXELS_MAX):
            yield from predict_waiting()
        waiting.append(loaded)
        if len(waiting) == batch_size:
            yield from predict_waiting()
    yield from predict_waiting()


def is_bug(error: Exception) -> bool:
    """Whether an error is no fault of the photo, the disk or the memory."""
    return not isinstance(error, UserError | OSError | MemoryError)


def explain(path: Path, error: Exception) -> str:
    """Why a photo could not be read, predicted or written, in one line; path: used if the error names none."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{path}: not enough memory; make the photo smaller"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{path}: the names of its results would be too long; rename the photo"
    explained = explain_os_error(error, path) if isinstance(error, OSError) else None
    reason = " ".join(str(error).split())[:200]
    return explained or f"{path}: cannot be predicted ({type(error).__name__}: {reason}); leave it out, and report this"


def _get_kind(loaded: Loaded) -> tuple:
    """Photos of one kind can be predicted together."""
    return loaded.predictor.background_input, loaded.shrunk.sizes


def _load(predictor: PhotoPredictor, photo: Selected, shared_background: Path | None) -> Loaded:
    image = read_photo(photo.path)  # first: report a missing photo before its missing background
    background = (shared_background or photo.background) if predictor.background_input else None
    if predictor.background_input and background is None:
        model = "the model" if len(predictor.members) == 1 else "one of the models"
        raise UserError(
            f"{photo.path}: {model} also takes the clean background; add {photo.path.stem}{BACKGROUND}.jpg beside it, or set"
            " --background"
        )
    return Loaded(predictor, photo, background, image, predictor.shrink(image, background))
