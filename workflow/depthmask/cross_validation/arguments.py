"""Command-line options of the cross-validation's stages."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.cross_validation.params import PATH


def make_own_parser(stage: str, description: str | None) -> ArgumentParser:
    """A stage script's parser, with the project's params file and the cross-validation's."""
    parser = make_stage_parser(f"cross_validation.{stage}", description)
    parser.add_argument("--settings", type=Path, default=PATH, help="params file of the cross-validation")
    return parser


def add_fold_option(parser: ArgumentParser) -> None:
    """Add the number of the fold."""
    parser.add_argument("--fold", type=int, required=True, help="number of the fold, from 1")
