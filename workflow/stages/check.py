"""Stage check: refuse a params.yaml that cannot work, before the outputs of any other stage are removed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthmask.base.errors import print_errors_as_lines
from depthmask.base.files import write_text
from depthmask.base.terminal import tell
from depthmask.preflight.capacity import check_run
from depthmask.preflight.paths import check_layout, check_project

# always the same bytes: what changed in params.yaml makes stale only the stages that read it
PASSED = "params.yaml fits its schema\n"


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--out", type=Path, required=True, help="text file, written when params.yaml is in order")
    args = parser.parse_args(argv)

    params = check_project(args.params)
    check_layout(params.download, str(args.params))
    asked = check_run(params, str(args.params))
    write_text(args.out, PASSED)
    tell(f"  {args.params}: ok; {asked}", label="check", style="stage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
