"""The models that come with the package, trained on the demo pack alone: see shipped/README.md."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "shipped"
# by whether the model takes the clean background
SHIPPED = {True: FOLDER / "with_background.safetensors", False: FOLDER / "image_alone.safetensors"}
