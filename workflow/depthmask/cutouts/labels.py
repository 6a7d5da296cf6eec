"""Label pictures of class numbers or colours, whose meaning a palette declares; each connected part of a class is an object."""

from __future__ import annotations

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import LABEL_SUFFIXES, PictureFolder, count_by_suffix, match_stems, require_folder, separate
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import ClassRegions
from depthmask.cutouts.objects import MISSING, TWICE, Picture, Problem, Reading

ENDINGS = ("_label", "_labels", "_mask", "_seg", "_gt", "-label", "-mask")


def read(request: Request) -> Reading:
    """List the label pictures.

    Raises:
        UserError: a folder or the palette is missing.
    """
    root = require_folder(request.annotations, "--annotations", "folder of label pictures")
    photos = PictureFolder(require_folder(request.images, "--images", "folder that contains the photos"))
    if request.palette is None:
        raise UserError("--palette: is missing; name a CSV file with lines value,name or red,green,blue,name")
    labels = PictureFolder(root, LABEL_SUFFIXES)
    separate(photos, labels)
    matched = match_stems(photos.files, labels.files, ENDINGS)
    reading = Reading([], kinds=request.palette.kinds)
    for photo, found in sorted(matched.items()):
        reading.problems += [Problem(name, TWICE, f"also {found[0]}") for name in found[1:]]
        path = labels.files[found[0]]
        reading.pictures.append(Picture(photo, photos.files[photo], ClassRegions(path, request.palette), inputs=(path,)))
    used = {name for found in matched.values() for name in found}
    reading.problems += [Problem(name, MISSING, "no photo of that name") for name in labels.files if name not in used]
    reading.unread = photos.list_unread(matched, "photos without a label picture") + count_by_suffix(labels.others, root)
    return reading
