"""A packed store of as many small made-up composites as wanted, written by the store's own writer without any image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthmask.base.files import write_json
from depthmask.data.sample import Origin
from depthmask.packing.gathering import gather
from depthmask.packing.pack import make_shards
from depthmask.packing.shards import PackPlan
from depthmask.params import DownloadParams
from depthmask.sources import RECORD
from depthmask.sources.layout import BadSamples
from depthmask.sources.pre_composited import FileMaps, PreCompositedSource

NUM_BACKGROUNDS, NUM_CUTOUTS = 100, 100  # of the published sets: 400,000 are 40 places of each pair
NUM_SHARDS = 16
DOWNLOAD = {
    "source": "flat_numbered",
    "path": "synthetic",
    "urls": [],
    "sha256": None,
    "depth": {"unit": "relative", "polarity": "near_is_small", "max": 1.0, "raw_max": 255, "raw_unknown": None},
    "mask": None,
    "pseudo_labels": None,
    "composites_per_background": 4000,
    "composites_per_cutout": 40,
    "composites_per_part": None,
    "backgrounds": "bare",
    "on_bad_sample": "error",
}


class SyntheticSource(PreCompositedSource):
    """Composites whose images follow from their number: a bright square on a background of noise."""

    has_depth = has_backgrounds = True

    def __init__(self, root: Path, num_composites: int, size_px: int):
        self.root, self.size_px, self.download = root, size_px, DownloadParams(**DOWNLOAD)
        self.scale, self.bad, self.warnings = self.download.depth, BadSamples(root, skip=False), []
        per_background = -(-num_composites // NUM_BACKGROUNDS)
        self.composites = tuple(
            Origin(f"{number:06d}", f"bg{number // per_background:04d}", f"fg{number % NUM_CUTOUTS:04d}")
            for number in range(num_composites)
        )
        # noise of their own, so that no two backgrounds are taken for copies
        self._clean = np.random.default_rng(0).integers(0, 100, (NUM_BACKGROUNDS, size_px, size_px, 3), np.uint8)
        write_json(root / RECORD, {"download": DOWNLOAD, "sha256": f"synthetic {num_composites}", "skipped": [], "warnings": []})

    def name_folder(self, kind: str) -> str:
        return kind

    def find_clean(self, background: str, height: int, width: int) -> np.ndarray:
        return self._clean[int(background[2:])].copy()

    def read_maps(self, key: str) -> FileMaps:
        number, half = int(key), self.size_px // 2
        background = self.composites[number].background
        image, alpha = self.find_clean(background, self.size_px, self.size_px), np.zeros((self.size_px, self.size_px), np.float32)
        row, column = number % half, number // 7 % half
        alpha[row : row + half, column : column + half] = 1
        image[alpha == 1] = 100 + number % 150
        return FileMaps(image, alpha, np.where(alpha == 1, 50, image[..., 0] + 100).astype(np.uint8))


def write_synthetic_store(root: Path, num_composites: int, size_px: int, num_processes: int) -> None:
    """`raw`, with the record alone, and `store`, under `root`."""
    (root / "raw").mkdir(parents=True)
    source = SyntheticSource(root / "raw", num_composites, size_px)
    plan = PackPlan((size_px,), "crop", NUM_SHARDS)
    make_shards(root / "work", source, plan, num_processes)
    gather(root / "work", source, plan, root / "store", num_processes)
