"""Pictures with a transparent background, such as matting tools save: each is an object, trimmed to what is visible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import PictureFolder, require_folder
from depthmask.cutouts.formats import Request
from depthmask.cutouts.objects import EMPTY, UNREADABLE, Found, Picture, Reading, View, Wants
from depthmask.data.formats import CUTOUT_SUFFIXES
from depthmask.data.images import MASK_THRESHOLD


def read(request: Request) -> Reading:
    """List the pictures at any depth; a subfolder names the kind unless `kind` does.

    Raises:
        UserError: the folder is missing, or contains no such picture.
    """
    folder = PictureFolder(require_folder(request.images, "--images", "folder of pictures with transparency"), CUTOUT_SUFFIXES)
    if not folder.files:
        raise UserError(f"{folder.folder}: contains no {', '.join(CUTOUT_SUFFIXES)} file; JPEG has no transparency")
    reading = Reading([], unread=folder.list_unread(folder.files))
    for name, path in folder.files.items():
        kind = request.kind or (name.split("/")[-2] if "/" in name else None)
        reading.pictures.append(Picture(name, path, AlphaChannel(kind), is_exhaustive=False))
    return reading


@dataclass(frozen=True)
class AlphaChannel:
    """What the picture's own alpha shows."""

    kind: str | None

    def find(self, view: View, wants: Wants) -> Iterator[Found]:
        place = "alpha"
        if view.alpha is None or (view.alpha == 255).all():
            yield Found(place, self.kind, fault=UNREADABLE, detail="nothing is transparent")
        elif not (view.alpha >= MASK_THRESHOLD).any():
            yield Found(place, self.kind, fault=EMPTY)
        else:
            yield Found(place, self.kind, view.alpha)
