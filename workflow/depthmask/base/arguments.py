"""Command-line options shared by several stages."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path


def make_stage_parser(stage: str, description: str | None) -> ArgumentParser:
    """A stage script's parser, with the --params option that every stage has."""
    parser = ArgumentParser(prog=f"stages.{stage}", description=description)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    return parser


def add_more_option(parser: ArgumentParser) -> None:
    """Add the folder of further sources."""
    parser.add_argument("--more", type=Path, help="folder in which the download_more stages write further sources")


def add_source_options(parser: ArgumentParser) -> None:
    """Add the data folders; `sources.folders.choose_data` decides which are read."""
    parser.add_argument("--raw", type=Path, required=True, help="folder written by the download stage")
    parser.add_argument("--store", type=Path, help="folder written by the pack stage, for pre-composited samples")
    add_more_option(parser)


def add_split_options(parser: ArgumentParser) -> None:
    """Add the data folders and the split folder."""
    add_source_options(parser)
    parser.add_argument("--split", type=Path, required=True, help="folder written by the split stage")
