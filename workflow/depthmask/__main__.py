"""`python -m depthmask` is the `depthmask` command."""

import sys

from depthmask.cli import main

if __name__ == "__main__":
    sys.exit(main())
