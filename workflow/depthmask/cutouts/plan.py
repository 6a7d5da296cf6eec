"""What is decided for all pictures, and what one picture gave."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from depthmask.base.terminal import CONTROL
from depthmask.cutouts.sizes import Optics
from depthmask.params import DepthParams

OnePer = Literal["object", "kind", "picture"]
Backgrounds = Literal["without_wanted", "without_objects", "none"]
BETWEEN = "+"  # joins the kinds of a cut-out of several objects
KIND_MAX = 80  # characters, as in pack.json


def tidy_kind(kind: str | None) -> str | None:
    """A kind as pack.json can hold it: no control characters, not too long."""
    return (CONTROL.sub(" ", kind).strip()[:KIND_MAX] or None) if kind else None


@dataclass(frozen=True)
class Filters:
    """kinds, not_kinds: lower case; kinds empty: all. Sides and areas are of what is visible, in pixels of the picture."""

    kinds: frozenset[str] = frozenset()
    not_kinds: frozenset[str] = frozenset()
    side_min_px: int = 32
    area_min_px: int = 1024
    background_side_min_px: int = 128
    frame_margin_px: int = 2
    allow_cut: bool = False

    def wants(self, kind: str | None) -> bool:
        """Whether objects of that kind are to be cut out."""
        name = (kind or "").lower()
        return (not self.kinds or name in self.kinds) and name not in self.not_kinds


@dataclass(frozen=True)
class Plan:
    """All that decides what is made of a picture."""

    out: Path
    filters: Filters = field(default_factory=Filters)
    one_per: OnePer = "object"
    feather_px: float = 2.0
    backgrounds: Backgrounds = "without_wanted"
    optics: Optics = field(default_factory=Optics)
    depth: DepthParams | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Task:
    """A picture's number in `Job.pictures`, the beginning of the names of its files, and its depth map."""

    number: int
    base: str
    depth_map: Path | None = None
    is_background: bool = False  # by declaration, whatever is in it


@dataclass(frozen=True)
class Kept:
    """A cut-out that was written. box: left, top, right, bottom in the upright picture."""

    name: str
    kind: str | None
    place: str
    box: tuple[int, int, int, int]
    area_px: int
    fills_box: bool = False
    pixels_per_m: float | None = None
    height_m: float | None = None
    depth_m: float | None = None


@dataclass(frozen=True)
class LeftOut:
    """An object that was not; box: as above, if it has one."""

    place: str
    kind: str | None
    reason: str
    detail: str = ""
    number: int = 1
    box: tuple[int, int, int, int] | None = None


@dataclass
class Result:
    """What one picture gave. background: the suffix of its file if it is one, else None and why not. fault: of the picture."""

    number: int
    picture: str
    width: int = 0
    height: int = 0
    kept: list[Kept] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    background: str | None = None
    no_background: str | None = None
    fault: str | None = None
    detail: str = ""
    depth_fault: str | None = None
    licence: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Raises TypeError or KeyError if it is none."""
        kept = [Kept(**{**one, "box": tuple(one["box"])}) for one in data["kept"]]
        left = [LeftOut(**{**one, "box": one["box"] and tuple(one["box"])}) for one in data["left_out"]]
        return cls(**{**data, "kept": kept, "left_out": left})
