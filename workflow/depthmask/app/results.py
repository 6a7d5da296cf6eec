"""The last result of each open page, in a folder of its own that is removed when the page is closed or the server ends.

Shapes: photos are uint8 H x W x 3, maps H x W.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.files import format_json
from depthmask.base.paths import NAME_BYTES_MAX, make_result_name
from depthmask.base.process_identity import is_alive, is_ours, name_process
from depthmask.point_clouds.points import PointCloud
from depthmask.point_clouds.viewer import render_page
from depthmask.serving.pictures import save_cutout, save_depth, save_mask, save_side_by_side
from depthmask.serving.predictor import PhotoPrediction

PREFIX = "depthmask_app."
KEPT_MAX = 32  # a browser that never says that its page was closed does not fill the disk
INDEX = "predictions.json"
ENDINGS = {
    "mask": "_mask.png",
    "mask_at_threshold": "_mask_at_threshold.png",
    "cutout": "_cutout.png",
    "depth": "_depth.png",
    "side_by_side": "_side_by_side.jpg",
    "scene": "_scene.html",
    "points": "_points.glb",
}
DATE = (1980, 1, 1, 0, 0, 0)  # of every file of an archive, so that the same result gives the same bytes


@dataclass(frozen=True)
class Result:
    """A predicted photo. name: of its file; image: its pixels; depth: how to read it, as `serving.pictures.declare_depth`.

    models, photo: entries of predictions.json, without the photo's files. field_of_view_deg: of the camera, if it was declared.
    flip: whether the prediction of the mirror image was averaged with it.
    """

    name: str
    image: np.ndarray
    prediction: PhotoPrediction
    depth: dict[str, Any]
    models: list[dict[str, Any]]
    photo: dict[str, Any]
    field_of_view_deg: float | None = None
    flip: bool = False


class Results:
    """The last result of each page; any number of threads may ask.

    Each gets a token that nobody can guess, with which its page asks for it again. Its arrays are on disk, in a folder below
    `folder`, and mapped into memory: those of a photo of 100 million pixels are 1.1 GB.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._tokens: OrderedDict[str, str] = OrderedDict()  # by session: the page's random name
        self._kept: dict[str, Result] = {}  # by token
        self._lock = threading.Lock()

    def put(self, session: str, result: Result) -> str:
        """Keep a result in the place of the session's last one, and return its token."""
        token = secrets.token_urlsafe(24)
        folder = self._folder / token
        folder.mkdir()
        prediction = result.prediction
        arrays = {"image": result.image, "mask": prediction.mask, "depth": prediction.depth}
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        image, mask, depth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays)
        with self._lock:
            dropped = [self._tokens.pop(session, None)]
            self._tokens[session] = token
            self._kept[token] = replace(result, image=image, prediction=replace(prediction, mask=mask, depth=depth, image=None))
            while len(self._tokens) > KEPT_MAX:
                dropped.append(self._tokens.popitem(last=False)[1])
            self._remove(dropped)
        return token

    def drop(self, session: str) -> None:
        """Remove the result of a page, if it has one."""
        with self._lock:
            self._remove([self._tokens.pop(session, None)])

    def get(self, token: str) -> Result:
        """The result with a token.

        Raises:
            UserError: there is none: its page was closed, or has predicted another photo since.
        """
        with self._lock:
            if token not in self._kept:
                raise UserError("this result is no longer kept; predict the photo again")
            return self._kept[token]

    def _remove(self, tokens: list[str | None]) -> None:
        for token in filter(None, tokens):
            del self._kept[token]
            shutil.rmtree(self._folder / token, ignore_errors=True)  # whoever still reads the arrays keeps them


def pack_result(result: Result, threshold: float, is_soft: bool, path: Path) -> None:
    """Write all files of a result into a zip archive: those of `depthmask predict`, and the binary mask at a threshold.

    threshold: 0..1; is_soft: the cut-out's alpha is the mask's probability, else the binary mask.
    """
    stem = make_result_name(Path(result.name).stem, NAME_BYTES_MAX - max(map(len, ENDINGS.values())))
    files = {kind: stem + ending for kind, ending in ENDINGS.items()}
    mask = np.asarray(result.prediction.mask)
    binary = (mask >= threshold).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=path.parent) as text:
        folder = Path(text)
        save_mask(folder / files["mask"], mask)
        save_mask(folder / files["mask_at_threshold"], binary)
        save_cutout(folder / files["cutout"], result.image, mask if is_soft else binary)
        save_depth(folder / files["depth"], result.prediction, result.depth)
        save_side_by_side(folder / files["side_by_side"], np.asarray(result.image), result.prediction, result.name)
        (folder / files["scene"]).write_text(render_scene(result), encoding="utf-8")
        make_points(result).save(folder / files["points"])
        index = {
            "models": result.models,
            "flip": result.flip,
            "mask": {"kind": "alpha", "raw_max": 255, "threshold": threshold, "cutout": "alpha" if is_soft else "hard"},
            "depth": result.depth,
            "photos": [result.photo | {"files": files}],
            "failed": [],
        }
        (folder / INDEX).write_text(format_json(index), encoding="utf-8", errors="backslashreplace")
        with zipfile.ZipFile(path, "w") as archive:
            for name in (*files.values(), INDEX):
                entry = zipfile.ZipInfo(name, DATE)  # stored: pictures are compressed already
                with archive.open(entry, "w", force_zip64=True) as packed, (folder / name).open("rb") as written:
                    shutil.copyfileobj(written, packed)


def make_points(result: Result) -> PointCloud:
    """The points of a photo, for the camera that was declared, else the one that the model was trained for."""
    return replace(result.prediction, image=result.image).to_points(result.field_of_view_deg)


def render_scene(result: Result) -> str:
    """A page of its own with the photo's points, which can be turned."""
    points = make_points(result)
    return render_page(points, f"{result.name}: the scene in 3D")


@contextlib.contextmanager
def make_workplace() -> Iterator[Path]:
    """A folder in the system's place for temporary files, with the folders uploads, results and archives; removed at the end.

    Those of killed servers of this machine are removed too.

    Raises:
        OSError: none can be made.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        process = left.name.removeprefix(PREFIX).rpartition(".")[0]
        if is_ours(process) and not is_alive(process):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name_process()}.", dir=parent))  # that others cannot open
    try:
        for name in ("uploads", "results", "archives"):
            (folder / name).mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
