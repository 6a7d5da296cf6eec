"""The largest numbers that a prediction may be asked for; a command reads its options before it loads torch."""

from __future__ import annotations

import os

COUNT_MAX = 16384  # pixels of a side, photos at once
THREADS_MAX = max(256, os.cpu_count() or 1)
