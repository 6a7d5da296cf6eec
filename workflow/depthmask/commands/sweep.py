"""`depthmask sweep`: checks a sweep, says what it will take, and writes the plan that its graph is made from."""

from __future__ import annotations

import argparse
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.terminal import count
from depthmask.preflight.capacity import check_capacity, describe_estimate, look_at_machine
from depthmask.sweep.checking import write_plan
from depthmask.sweep.estimating import estimate_sweep
from depthmask.sweep.planning import PLAN


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="depthmask sweep",
        description="Check a sweep and write its plan. Then, in its folder: snakemake --cores 2, or dvc repro.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the sweep (the working folder if it is one, else sweep)")
    return parser


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    folder = args.folder or (Path() if Path("../workflow/depthmask/sweep").is_dir() else Path("sweep"))
    where = folder / "params.yaml"
    plan = write_plan(where)
    machine = look_at_machine(folder)
    estimate = estimate_sweep(plan, machine.num_cores)
    check_capacity(estimate, plan.shared.compute.threads, str(where), machine)
    rounds = plan.name_rounds()
    about = f"{count(plan.num_trials, 'trial')} in {count(len(rounds), 'round')} over {', '.join(plan.params.space)}"
    print(f"{where}: ok, {about}; {describe_estimate(estimate)}")
    print(f"{folder / PLAN}: written; now snakemake --cores {machine.num_cores} or dvc repro in {folder.absolute().name}")
    return 0
