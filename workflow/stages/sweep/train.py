"""Train one trial, as the project's own stages pretrain and finetune would, one after the other."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import DivergedError, UserError
from depthmask.base.files import write_json, write_text
from depthmask.base.terminal import note
from depthmask.execution.working_folder import find_checkpoints, hold_folder
from depthmask.loading.split_files import read_weights
from depthmask.sources.folders import choose_data
from depthmask.sweep.places import SweepParser, add_data_options
from depthmask.sweep.trial import Trial, read_trial
from depthmask.training.checkpoint import ROOT
from depthmask.training.job import Job
from depthmask.training.launching import on_every_device
from depthmask.training.stage import TrainingFiles, train_job
from depthmask.weights.start import write_start


@print_errors_as_lines
@on_every_device
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("train", __doc__)
    parser.add_argument("--trial", type=Path, required=True, help="JSON file written by the suggest stage")
    add_data_options(parser)
    parser.add_argument("--weights", type=Path, required=True, help="model file to write")
    parser.add_argument("--history", type=Path, required=True, help="CSV file to write: one row per epoch")
    parser.add_argument("--outcome", type=Path, required=True, help="JSON file to write: whether the training diverged")
    parser.add_argument("--run", type=Path, required=True, help="JSON file to write: the run record")
    args = parser.parse_args(argv)

    trial, diverged = read_trial(args.trial), None
    with tempfile.TemporaryDirectory() as folder:
        write_start(trial.model, Path(folder))
        try:
            _train(args, trial, Path(folder))
        except DivergedError as error:  # also a result: the other trials continue
            diverged = str(error)
            remove_checkpoints(args.folder, trial)
            for path in (args.weights, args.history):
                write_text(path, "")  # a stage must write its outputs; their readers look at the outcome first
            write_json(args.run, {"diverged": diverged})
            note(f"{trial.name} diverged: {diverged}")
    write_json(args.outcome, {"diverged": diverged})
    return 0


def remove_checkpoints(folder: Path, trial: Trial) -> None:
    """Remove those of a training that diverged: resumed from them, it would diverge again. Those in use are another clone's."""
    for path in find_checkpoints(ROOT).glob(f"{name_stage(folder, trial)}-*/"):
        with contextlib.suppress(UserError), hold_folder(path, "training"):
            pass


def name_stage(folder: Path, trial: Trial) -> str:
    """What a trial is called where all trainings of the project are: in checkpoints, and in TensorBoard."""
    return f"{folder.name}-{trial.name}"


def _train(args: argparse.Namespace, trial: Trial, start: Path) -> None:
    """start: the folder of the initial weights."""
    job = Job(
        stage=name_stage(args.folder, trial),
        phases=trial.phases,
        seed=trial.seed,
        compose=trial.compose,
        augment=trial.augment,
        loss=trial.loss,
        compute=trial.compute,
        model=trial.model,
        raw=choose_data(args.raw, args.store, args.more, list(read_weights(args.split))),
        split=args.split,
        start=start,
        init=None,
        stop=trial.stop,
    )
    train_job(job, {"trial": trial.model_dump()}, "stages.sweep.train", TrainingFiles(args.weights, args.history, args.run))


if __name__ == "__main__":
    sys.exit(main())
