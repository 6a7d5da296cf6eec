"""Where the stages of a sweep find their files.

They run in the project's folder, in which the paths of its params.yaml lead where they lead for the project's own stages; the
files of the graph are in the folder of the sweep, beside it.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from depthmask.sweep.params import SweepParams, load_sweep_params
from depthmask.sweep.planning import PLAN


class SweepParser(ArgumentParser):
    """A parser with --folder, in which the paths of all other options are."""

    def __init__(self, stage: str, description: str | None):
        super().__init__(prog=f"stages.sweep.{stage}", description=description)
        self.add_argument("--folder", type=Path, required=True, help="folder of the sweep, in the working folder")

    def parse_args(self, argv=None, namespace=None) -> Namespace:
        """Parse, and turn every path into one as seen from the working folder."""
        args = super().parse_args(argv, namespace)
        args.folder = Path(os.path.relpath(args.folder))
        for name, value in vars(args).items():
            if isinstance(value, Path) and name != "folder":
                setattr(args, name, args.folder / value)
        return args


def add_data_options(parser: ArgumentParser) -> None:
    """Add the data folders that a trial reads."""
    for name in ("raw", "more", "store", "split"):
        parser.add_argument(f"--{name}", type=Path, default=Path(f"data/{'raw_more' if name == 'more' else name}"))


def find_plan(folder: Path) -> Path:
    """The plan file of a sweep."""
    return folder / PLAN


def load_params_of(folder: Path) -> SweepParams:
    """The validated params of a sweep; raises ParamsError as `load_sweep_params`."""
    return load_sweep_params(folder / "params.yaml")
