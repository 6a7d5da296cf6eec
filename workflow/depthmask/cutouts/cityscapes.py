"""Cityscapes: *_gtFine_instanceIds.png with class * 1000 + instance, or *_labelIds.png with classes, beside *_leftImg8bit.png."""

from __future__ import annotations

import re

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import LABEL_SUFFIXES, PictureFolder, count_by_suffix, match_stems, require_folder, separate
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import ClassRegions, ClassTimesDivisor
from depthmask.cutouts.objects import MISSING, TWICE, Picture, Problem, Reading, Unread
from depthmask.cutouts.palette import make_cityscapes_palette

PHOTO_ENDINGS = ("_leftImg8bit",)
INSTANCES, LABELS = re.compile(r"(_gt(Fine|Coarse))?_instanceIds$"), re.compile(r"(_gt(Fine|Coarse))?_labelIds$")
INSTANCE_ENDINGS = ("_gtFine_instanceIds", "_gtCoarse_instanceIds", "_instanceIds")
LABEL_ENDINGS = ("_gtFine_labelIds", "_gtCoarse_labelIds", "_labelIds")


def read(request: Request) -> Reading:
    """List the label pictures; those of instances, where there are any. Other PNGs, such as *_color.png, are counted.

    Raises:
        UserError: a folder is missing, or contains no such picture.
    """
    root = require_folder(request.annotations, "--annotations", "folder of label pictures, such as gtFine")
    photos = PictureFolder(require_folder(request.images, "--images", "folder of photos, such as leftImg8bit"))
    labels = PictureFolder(root, LABEL_SUFFIXES)
    separate(photos, labels)
    palette = request.palette or make_cityscapes_palette()
    ids = {
        kind: [name for name in labels.files if pattern.search(name.rpartition(".")[0])]
        for kind, pattern in (("instances", INSTANCES), ("labels", LABELS))
    }
    if not ids["instances"] and not ids["labels"]:
        raise UserError(f"{root}: contains no *_instanceIds.png or *_labelIds.png; for other names use the format labels")
    has_instances = bool(ids["instances"])
    names = ids["instances"] or ids["labels"]
    endings = (*PHOTO_ENDINGS, *(INSTANCE_ENDINGS if has_instances else LABEL_ENDINGS))
    matched = match_stems(photos.files, names, endings)
    reading = Reading([], kinds=palette.kinds)
    for photo, found in sorted(matched.items()):
        reading.problems += [Problem(name, TWICE, f"also {found[0]}") for name in found[1:]]
        path = labels.files[found[0]]
        objects = ClassTimesDivisor(path, palette, request.instance_divisor) if has_instances else ClassRegions(path, palette)
        reading.pictures.append(Picture(photo, photos.files[photo], objects, inputs=(path,)))
    used = {name for found in matched.values() for name in found}
    reading.problems += [Problem(name, MISSING, "no photo of that name") for name in names if name not in used]
    rest = [name for name in labels.files if name not in {*names}]
    reading.unread = photos.list_unread(matched, "photos without a label picture") + count_by_suffix(labels.others, root)
    reading.unread += [Unread(f"other pictures, in {root}", len(rest), rest[0])] if rest else []
    return reading
