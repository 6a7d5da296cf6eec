"""Writes examples of augmentation: a training composite as it is, and several draws of it."""

from __future__ import annotations

from pathlib import Path

from depthmask.augment import Augmenter
from depthmask.base.files import write_json
from depthmask.data.batch import ByteBatch
from depthmask.loading.dataset import SampleSet
from depthmask.params import AugmentParams
from depthmask.pictures.colours import paint_mask
from depthmask.pictures.grids import save_map

NUM_COMPOSITES, NUM_DRAWS = 3, 5
INDEX = "augmented.json"


def write_augmented(folder: Path, samples: SampleSet, augment: AugmentParams) -> None:
    """Write the images of the first training composites and INDEX into a folder.

    samples: not augmented. Training draws a new composite each epoch; here one composite is augmented again, as in epochs 0, 1,
    ... of training, so that only the augmentation differs. INDEX: {"composites": [{"key", "draws": [{"image": file, "mask":
    file}]}]}; the first draw is the composite as it is, the only one if augmentation is off.
    """
    augmenter = Augmenter(augment) if augment.geometric or augment.photometric else None
    composites = []
    for index in range(min(NUM_COMPOSITES, len(samples))):
        plain = samples[[(0, index)]]
        draws = [_save_draw(folder, f"augmented_{index}_0", plain, 0)]
        if augmenter is not None:
            drawn = samples[[(0, index)] * NUM_DRAWS]
            augmenter.augment(drawn, samples.seed, range(NUM_DRAWS), [index] * NUM_DRAWS)
            draws += [_save_draw(folder, f"augmented_{index}_{b + 1}", drawn, b) for b in range(NUM_DRAWS)]
        composites.append({"key": plain.origins[0].key, "draws": draws})
    write_json(folder / INDEX, {"composites": composites})


def _save_draw(folder: Path, name: str, batch: ByteBatch, b: int) -> dict[str, str]:
    return {
        "image": save_map(folder, f"{name}_image", batch.image[b]),
        "mask": save_map(folder, f"{name}_mask", paint_mask(batch.read_alpha(b))),
    }
