"""Predicts one photo at a time, in one thread of its own, with the models that were chosen for it."""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from depthmask.app.choices import Choice
from depthmask.app.results import Result
from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import clean
from depthmask.compute.memory import keep_freed_memory
from depthmask.serving.each_photo import Models, explain, predict_photos
from depthmask.serving.models_of_call import describe_models, load_models
from depthmask.serving.pictures import declare_depth
from depthmask.serving.selection import Selected

LOADED_MAX = 4  # models in memory
NO_MODEL = Path("no model is trained here")  # the models are always named


class Upload(NamedTuple):
    """A file as the browser sent it, and the name that it has there."""

    path: Path
    name: str


class Worker:
    """Loads models when they are first asked for, and predicts; whoever asks waits for those who asked before.

    One thread, because a photo takes all threads of torch, and each thread that calls torch would start its own team of them.
    options: device, size_px, mask_size_px, flip and engine, of `serving.loading.load`. field_of_view_deg: of the camera; None:
    not declared.
    """

    def __init__(self, options: Mapping[str, Any], field_of_view_deg: float | None = None):
        self._options, self._field_of_view_deg = options, field_of_view_deg
        self._loaded: OrderedDict[tuple[Path, ...], tuple[Models, list[dict[str, Any]]]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        keep_freed_memory()

    def load(self, choice: Choice) -> None:
        """Load the models of a choice now; raises UserError as `serving.loading.load` does."""
        self._thread.submit(self._load, choice).result()

    def predict(self, choice: Choice, photo: Upload | None, background: Upload | None) -> tuple[Result, float]:
        """Predict a photo; also returns the seconds it took, without waiting and loading.

        Raises:
            UserError: what `depthmask predict` says in one line, with the names that the files have in the browser; whatever is
                wrong is one, and a fault of the program is also printed with its traceback.
        """
        if photo is None:
            raise UserError("no photo yet; drop one, or take it with the webcam")
        if choice.needs_background and background is None:
            raise UserError(f"{photo.name}: the model also takes the clean background; add it, or choose another model")
        background = background if choice.takes_background else None
        return self._thread.submit(self._predict, choice, photo, background).result()

    def close(self) -> None:
        """Finish the photo being predicted, and no other."""
        self._thread.shutdown(cancel_futures=True)

    def _load(self, choice: Choice) -> tuple[Models, list[dict[str, Any]]]:
        if choice.paths in self._loaded:
            self._loaded.move_to_end(choice.paths)
        else:
            models = load_models(choice.paths, NO_MODEL, False, (), self._options)
            self._loaded[choice.paths] = models, describe_models(models)
            if len(self._loaded) > LOADED_MAX:
                self._loaded.popitem(last=False)
        return self._loaded[choice.paths]

    def _predict(self, choice: Choice, photo: Upload, background: Upload | None) -> tuple[Result, float]:
        models, described = self._load(choice)
        selected = Selected(photo.path, photo.path, None if background is None else background.path)
        bugs: list[Exception] = []
        started = time.perf_counter()
        try:
            ((loaded, prediction),) = predict_photos(models, [selected], None, 1, lambda reason: None, bugs)
        except Exception as error:
            raise UserError(_name_uploads(explain(photo.path, error), photo, background)) from error
        for bug in bugs:
            traceback.print_exception(bug)
        if isinstance(prediction, str):
            raise UserError(_name_uploads(prediction, photo, background))
        seconds = time.perf_counter() - started
        files = models.paths[loaded.predictor.background_input]
        height, width = prediction.mask.shape
        entry = {
            "photo": photo.name,
            **({"model": show_path(files[0])} if len(files) == 1 else {"models": [show_path(path) for path in files]}),
            "background": None if loaded.background is None or background is None else background.name,
            "size_px": [width, height],
            "network_size_px": list(prediction.network_size_px),
            "mask_network_size_px": list(prediction.mask_network_size_px),
        }
        depth = declare_depth(loaded.predictor)
        flip = self._options["flip"]
        return Result(photo.name, loaded.image, prediction, depth, described, entry, self._field_of_view_deg, flip), seconds


def _name_uploads(line: str, *uploads: Upload | None) -> str:
    """The line with the names of uploads instead of the paths at which they are kept."""
    for upload in filter(None, uploads):
        line = line.replace(show_path(upload.path), upload.name)
    return clean(line)
