"""Options that several stages take."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path


def make_stage_parser(stage: str, description: str | None) -> ArgumentParser:
    """The parser of a stage's script, with the params file that every stage reads."""
    parser = ArgumentParser(prog=f"stages.{stage}", description=description)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    return parser


def add_source_options(parser: ArgumentParser) -> None:
    """The folders that hold the data: `sources.choose_folder` says which of them is read."""
    parser.add_argument("--raw", type=Path, required=True, help="folder that the download stage made")
    parser.add_argument("--store", type=Path, help="folder that the pack stage made, for pre-composited samples")


def add_split_options(parser: ArgumentParser) -> None:
    """The data and their split."""
    add_source_options(parser)
    parser.add_argument("--split", type=Path, required=True, help="folder that the split stage made")
