"""Continue training from pretrain's weights at a larger size."""

from __future__ import annotations

import sys

from depthmask.base.errors import print_errors_as_lines
from depthmask.training.launching import on_every_device
from depthmask.training.stage import run_training_stage


@print_errors_as_lines
@on_every_device
def main(argv: list[str] | None = None) -> int:
    return run_training_stage("finetune", argv, __doc__, continues=True)


if __name__ == "__main__":
    sys.exit(main())
