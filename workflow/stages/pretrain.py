"""Train from the initial weights at a small size, where an epoch is cheap."""

from __future__ import annotations

import sys

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.training.launching import on_every_device
from depthmask.training.stage import run_training_stage


@print_errors_as_lines
@on_every_device
def main(argv: list[str] | None = None) -> int:
    return run_training_stage("pretrain", argv, __doc__, continues=False)


if __name__ == "__main__":
    sys.exit(main())
