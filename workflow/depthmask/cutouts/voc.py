"""Pascal VOC: JPEGImages/, SegmentationObject/ and SegmentationClass/ with PNGs of the same names. 255 is void.

CVAT's and others' exports in this layout have colours instead of palette indices, and a labelmap.txt that names them.
"""

from __future__ import annotations

from depthmask.base.errors import UserError
from depthmask.cutouts.folders import LABEL_SUFFIXES, PictureFolder, count_by_suffix, match_stems, require_folder, separate
from depthmask.cutouts.formats import Request
from depthmask.cutouts.label_pictures import ClassRegions, Instances
from depthmask.cutouts.objects import MISSING, TWICE, Picture, Problem, Reading
from depthmask.cutouts.palette import VOC_VOID, VOC_VOID_COLOUR, make_voc_palette, read_palette

OBJECTS, CLASSES, PHOTOS, LABELMAP = "SegmentationObject", "SegmentationClass", "JPEGImages", "labelmap.txt"


def read(request: Request) -> Reading:
    """List the label pictures; with both folders each object gets the class of its pixels.

    Raises:
        UserError: a folder is missing, or the palette cannot be read.
    """
    root = require_folder(request.annotations, "--annotations", f"folder that contains {CLASSES}/ or {OBJECTS}/")
    photos = PictureFolder(require_folder(request.images or root / PHOTOS, "--images", "folder that contains the photos"))
    palette = request.palette
    if palette is None:
        palette = read_palette(root / LABELMAP) if (root / LABELMAP).is_file() else make_voc_palette()
    folders = {name: PictureFolder(root / name, LABEL_SUFFIXES) for name in (OBJECTS, CLASSES) if (root / name).is_dir()}
    if not folders:
        raise UserError(
            f"{root}: contains neither {CLASSES}/ nor {OBJECTS}/; name the folder that does, or use the format labels"
        )
    for folder in folders.values():
        separate(photos, folder)
    matched = {name: match_stems(photos.files, folder.files) for name, folder in folders.items()}
    reading = Reading([], kinds=palette.kinds if CLASSES in folders else None)
    main = OBJECTS if OBJECTS in folders else CLASSES
    for photo, found in sorted(matched[main].items()):
        if len(found) > 1:
            reading.problems.append(Problem(f"{main}/{found[1]}", TWICE, f"also {found[0]}"))
        path = folders[main].files[found[0]]
        if main == CLASSES:
            objects, inputs = ClassRegions(path, palette, (VOC_VOID,), (VOC_VOID_COLOUR,)), (path,)
        else:
            classes = [folders[CLASSES].files[name] for name in matched.get(CLASSES, {}).get(photo, [])[:1]]
            objects, inputs = Instances(path, classes[0] if classes else None, palette), (path, *classes)
        reading.pictures.append(Picture(photo, photos.files[photo], objects, inputs=inputs))
    used = {name for found in matched[main].values() for name in found}
    unmatched = [name for name in folders[main].files if name not in used]
    reading.problems += [Problem(f"{main}/{name}", MISSING, "no photo of that name") for name in unmatched]
    reading.unread = photos.list_unread(matched[main], f"photos without a picture in {main}")
    reading.unread += [one for folder in folders.values() for one in count_by_suffix(folder.others, folder.folder)]
    return reading
