"""What augmentation makes of a training composite: the composite as it is, and several draws of it."""

from __future__ import annotations

from pathlib import Path

from depthmask.augment import Augmenter
from depthmask.base.files import write_json
from depthmask.evaluation.grids import save_map
from depthmask.loading.dataset import SampleSet
from depthmask.params import AugmentParams
from depthmask.pictures.colours import paint_mask

NUM_COMPOSITES, NUM_DRAWS = 3, 5
INDEX = "augmented.json"


def write_augmented(folder: Path, samples: SampleSet, augment: AugmentParams) -> None:
    """Write the pictures of the first training composites and INDEX into a folder.

    samples: not augmented. Training draws a new composite each epoch; here one composite is drawn again, as in the epochs
    0, 1, ... of training, so that only the augmentation differs. INDEX: {"composites": [{"key", "draws": [{"image": file,
    "mask": file}]}]}, the first draw being the composite as it is; no draws follow where nothing is augmented.
    """
    augmenter = Augmenter(augment) if augment.geometric or augment.photometric else None
    composites = []
    for index in range(min(NUM_COMPOSITES, len(samples))):
        plain = samples.sample(index)
        drawn = [samples.redraw(index, augmenter, epoch) for epoch in range(NUM_DRAWS)] if augmenter else []
        draws = [
            {
                "image": save_map(folder, f"augmented_{index}_{number}_image", sample.image),
                "mask": save_map(folder, f"augmented_{index}_{number}_mask", paint_mask(sample.mask)),
            }
            for number, sample in enumerate([plain, *drawn])
        ]
        composites.append({"key": plain.key, "draws": draws})
    write_json(folder / INDEX, {"composites": composites})
