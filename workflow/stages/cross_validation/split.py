"""Split the project's data for one fold: its own backgrounds and cut-outs for the test part, the others for the rest."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import add_source_options
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import replace_folder
from depthmask.base.terminal import note, show_stage
from depthmask.cross_validation.arguments import add_fold_option, make_own_parser
from depthmask.cross_validation.params import load_both
from depthmask.params.mixture import list_weights
from depthmask.sources.folders import choose_data
from depthmask.split.folds import Fold
from depthmask.split.writing import write_split
from stages.split import describe_counts


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_own_parser("split", __doc__)
    add_fold_option(parser)
    add_source_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    params, settings = load_both(args.params, args.settings)
    fold = Fold(args.fold, len(settings.folds))
    if args.fold not in settings.folds:
        raise UserError(f"--fold {args.fold}: not in folds of {args.settings}; allowed: {', '.join(map(str, settings.folds))}")
    with show_stage(f"split {args.fold}", f"fold {fold.number} of {fold.count}, seed {params.split_seed}") as shown:
        data = choose_data(args.raw, args.store, args.more, list(list_weights(params.download)))
        try:
            with replace_folder(args.out) as folder:
                counts, remarks = write_split(folder, data, params, fold)
        except UserError as error:
            raise UserError(f"fold {fold.number} of {fold.count}: {error.message}", hint=error.hint) from error
        for remark in remarks:
            note(remark)
        shown.result = f"{describe_counts(counts)}; {args.out}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
