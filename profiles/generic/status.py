#!/usr/bin/env python3
"""status.py JOB: print running, success or failed."""

import sys

from schedulers import Failure, look

try:
    print(look(sys.argv[1]))
except Failure as failure:
    sys.exit(f"error: {failure}")
