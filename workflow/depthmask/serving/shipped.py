"""Where the models that come with the package are looked for; without them `predict` uses the trained one alone."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "shipped"
# by whether the model takes the clean background
SHIPPED = {True: FOLDER / "with_background.safetensors", False: FOLDER / "image_alone.safetensors"}
