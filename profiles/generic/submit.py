#!/usr/bin/env python3
"""submit.py SCRIPT: submit a job of Snakemake's and print the scheduler's name of it."""

import sys
from pathlib import Path

from schedulers import Failure, submit

try:
    print(submit(Path(sys.argv[1])))
except Failure as failure:
    sys.exit(f"error: {failure}")
