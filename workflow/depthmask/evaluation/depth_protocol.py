"""The protocol of the depth scores, as params and source decide it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from depthmask.base.errors import UserError
from depthmask.compose.compose import measure_side
from depthmask.data.images import measure_picture, read_rgb
from depthmask.metrics.protocol import NYU_HEIGHT_PX, NYU_WIDTH_PX, DepthProtocol, make_eigen_window
from depthmask.params import ComposeParams, DepthParams, EvaluateParams
from depthmask.scores.rounding import round_score
from depthmask.sources import open_source
from depthmask.sources.assets import AssetsSource
from depthmask.sources.layout import choose_spread

ASPECT_TOLERANCE = 0.01
NUM_MEASURED = 64  # photos of a source whose size is looked at


def make_protocol(depth: DepthParams, evaluate: EvaluateParams | None = None, fit: str = "crop") -> DepthProtocol:
    """The protocol of scores of such depth; evaluate: its caps and crop, None for neither. fit: as in `compose.fitting`."""
    # stored so, relative depth is larger where it is nearer: what the networks take for depth is 1 minus a disparity
    has_ratios = not (depth.unit == "relative" and depth.polarity == "near_is_large")
    if evaluate is None:
        return DepthProtocol(has_ratios)
    caps = (None if cap is None else cap / depth.max for cap in (evaluate.depth_min, evaluate.depth_max))
    return DepthProtocol(has_ratios, *caps, None if evaluate.depth_crop is None else make_eigen_window(fit))


def describe_caps(protocol: DepthProtocol, depth_max: float) -> dict[str, float | None]:
    """The caps in force, in the depth's unit, for metrics.json; depth_max: the depth that 1 stands for."""
    caps = {"depth_min": protocol.depth_min, "depth_max": protocol.depth_max}
    return {key: round_score(cap * depth_max) for key, cap in caps.items() if cap is not None}


def require_nyu_frames(folders: Iterable[Path], compose: ComposeParams) -> None:
    """Raise UserError unless the crop that Eigen et al. defined for frames of NYU Depth V2 means something for these sources.

    folders: written by the download stages. Frames at another size are fine, of another shape not; NUM_MEASURED of each source
    are looked at.
    """
    for folder in folders:
        source = open_source(folder)
        photos = {key: path for key, path, _ in source.list_unlabelled()}
        for key in choose_spread(sorted(photos), NUM_MEASURED):
            _require_nyu_shape(Path(photos[key]))
            if isinstance(source, AssetsSource) and compose.fit == "crop":
                background = source.read_background(key)
                if measure_side(background, compose.field_of_view_deg) < min(background.image.shape[:2]):
                    raise UserError(
                        f"evaluate.depth_crop: eigen is for whole frames, but compose.field_of_view_deg:"
                        f" {compose.field_of_view_deg:g} crops {photos[key]}; set one of them to null"
                    )


def find_fault_of_crop(folder: Path, evaluate: EvaluateParams, compose: ComposeParams) -> str | None:
    """Why the crop asked for means nothing for a source (see `require_nyu_frames`), from its key on; None if it does."""
    if evaluate.depth_crop is None:
        return None
    try:
        require_nyu_frames([folder], compose)
    except UserError as error:
        return str(error)
    return None


def _require_nyu_shape(path: Path) -> None:
    width, height = measure_picture(path) or read_rgb(path).shape[1::-1]
    if abs(width / height * NYU_HEIGHT_PX / NYU_WIDTH_PX - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"evaluate.depth_crop: eigen is for frames of {NYU_WIDTH_PX} x {NYU_HEIGHT_PX}, at any size, but {path} has"
            f" {width} x {height}; set it to null"
        )
