"""Train one recipe with one seed, according to its plan."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from depthmask.base.arguments import add_split_options, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_json, write_text
from depthmask.base.terminal import note
from depthmask.leaderboard.params import LeaderboardParams, load_leaderboard_params
from depthmask.leaderboard.plan import Plan, load_plan
from depthmask.sources import choose_folder
from depthmask.training.job import Job
from depthmask.training.launching import on_every_device
from depthmask.training.stage import TrainingFiles, train_job
from depthmask.weights.start import write_start


@print_errors_as_lines
@on_every_device
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.train", __doc__)
    parser.add_argument("--plan", type=Path, required=True, help="JSON file written by the plan stage")
    parser.add_argument("--seed", type=int, required=True, help="for initial weights, composites and augmentations")
    add_split_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV file to write: one row per epoch")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    params, plan = load_leaderboard_params(args.params), load_plan(args.plan)
    if plan.missing:
        for path in (args.weights, args.history):
            write_text(path, "")  # a stage must write its outputs; their readers check the plan first
        write_json(args.run, {"missing": plan.missing})
        note(f"recipe {plan.recipe} is skipped: {plan.missing}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_start(plan.model, Path(folder))
        _train(args, params, plan, Path(folder))
    return 0


def _train(args: argparse.Namespace, params: LeaderboardParams, plan: Plan, start: Path) -> None:
    """start: the folder of the initial weights."""
    job = Job(
        stage=f"{plan.recipe}-{args.seed}",
        phases=plan.phases,
        seed=args.seed,
        compose=params.compose,
        augment=plan.augment,
        loss=plan.loss,
        compute=params.compute,
        model=plan.model,
        raw=choose_folder(args.raw, args.store),
        split=args.split,
        start=start,
        init=None,
    )
    in_force = {"seed": args.seed, "plan": plan.model_dump()}
    in_force |= {section: getattr(params, section).model_dump() for section in ("compose", "compute")}
    train_job(job, in_force, "stages.leaderboard.train", TrainingFiles(args.weights, args.history, args.run))


if __name__ == "__main__":
    sys.exit(main())
