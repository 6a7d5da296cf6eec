"""The models that come with the package: decoders trained on the demo pack (CC0), on a frozen encoder from ImageNet."""

from __future__ import annotations

from pathlib import Path

from depthmask.serving.ensemble import Ensemble
from depthmask.serving.loading import load
from depthmask.serving.predictor import Predictor

FOLDER = Path(__file__).with_name("shipped_models")
# by whether the model takes the clean background
SHIPPED = {True: FOLDER / "with_background.safetensors", False: FOLDER / "image_alone.safetensors"}


def load_shipped(
    background_input: bool,
    device: str = "auto",
    size_px: int | None = None,
    mask_size_px: int | None = None,
    flip: bool = False,
    engine: str = "auto",
) -> Predictor | Ensemble:
    """Load the model that takes the clean background as well, or the one that takes the photo alone; otherwise as `load`."""
    return load(SHIPPED[background_input], device, size_px, mask_size_px, flip, engine)
