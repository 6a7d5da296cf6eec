"""Train the project's network on one fold from one seed: the phases of pretrain, then those of finetune."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_split_options
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.cross_validation.arguments import add_fold_option, make_own_parser
from depthmask.cross_validation.params import load_both, shorten
from depthmask.cross_validation.training import make_fold_job
from depthmask.loading.split_files import count_rows, read_weights
from depthmask.sources.folders import choose_data
from depthmask.training.launching import on_every_device
from depthmask.training.stage import TrainingFiles, train_job

SECTIONS = ("compose", "augment", "model", "loss", "pretrain", "finetune", "compute")


@print_errors_as_lines
@on_every_device
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("train", __doc__)
    add_fold_option(parser)
    parser.add_argument("--seed", type=int, required=True, help="for initial weights, composites and augmentations")
    add_split_options(parser)
    parser.add_argument("--start", type=Path, required=True, help="folder written by the weights stage")
    parser.add_argument("--weights", type=Path, required=True, help="model file to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV file to write: one row per epoch")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    params, settings = load_both(args.params, args.settings)
    params = shorten(params, settings, count_rows(args.split, "train"))
    data = choose_data(args.raw, args.store, args.more, list(read_weights(args.split)))
    job = make_fold_job(params, args.fold, args.seed, data, args.split, args.start)
    in_force = {"fold": args.fold, "folds": len(settings.folds), "seed": job.seed}
    in_force |= {section: getattr(params, section).model_dump() for section in SECTIONS}
    train_job(job, in_force, "stages.cross_validation.train", TrainingFiles(args.weights, args.history, args.run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
