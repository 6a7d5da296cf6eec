"""Choose the values of a round's trials, from the results of the rounds before it."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import replace_folder, write_json
from depthmask.base.terminal import count, show_stage
from depthmask.loading.split_files import count_rows
from depthmask.sweep.places import SweepParser
from depthmask.sweep.planning import read_plan
from depthmask.sweep.results import EARLIER, read_earlier
from depthmask.sweep.suggesting import suggest_trials
from depthmask.sweep.trial import write_trial


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = SweepParser("suggest", __doc__)
    parser.add_argument("--round", required=True, help="name of the round, such as r0")
    parser.add_argument(
        "--before", type=Path, required=True, help="folder of the trials of the round before; a file: there is none"
    )
    parser.add_argument("--scores", type=Path, required=True, help="folder of their results; a file: there is none")
    parser.add_argument("--split", type=Path, required=True, help="folder written by the split stage")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: a JSON file for each trial")
    args = parser.parse_args(argv)

    plan = read_plan(args.folder)
    number = list(plan.name_rounds()).index(args.round)
    with show_stage(f"suggest {args.round}", f"{plan.params.method}, seed {plan.params.seed}") as shown:
        results = read_earlier(args.before, args.scores, plan, number)
        trials = suggest_trials(plan, number, results, count_rows(args.split, "train"))
        with replace_folder(args.out) as folder:
            for trial in trials:
                write_trial(folder / f"{trial.name}.json", trial)
            write_json(folder / EARLIER, [result.model_dump() for result in results])
        shown.result = f"{count(len(trials), 'trial')} after {count(len(results), 'result')}; {args.out}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
