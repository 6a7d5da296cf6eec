#!/usr/bin/env python3
"""cancel.py JOB...: cancel jobs; trainings save first."""

import sys

from schedulers import cancel

cancel(sys.argv[1:])
