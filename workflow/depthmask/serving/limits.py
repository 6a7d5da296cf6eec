"""What can be requested of a prediction, importable without torch."""

from __future__ import annotations

import os

COUNT_MAX = 16384  # pixels of a side, photos at once
ENGINES = ("auto", "torch", "openvino")
THREADS_MAX = max(256, os.cpu_count() or 1)
