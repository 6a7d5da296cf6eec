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


def add_result_options(parser: ArgumentParser) -> None:
    """Add the files that an evaluation writes, besides the run record: `evaluation.results.ResultFiles`."""
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write: scores")
    parser.add_argument("--baselines", type=Path, required=True, help="JSON file to write: scores of the baselines")
    intervals = "JSON file to write: 95 %% confidence intervals of all scores"
    parser.add_argument("--intervals", type=Path, required=True, help=intervals)
    parser.add_argument("--per-image", type=Path, required=True, help="CSV file to write: scores of each image")
    parser.add_argument("--samples", type=Path, required=True, help="folder to write: images of samples")
    parser.add_argument("--fixed-samples", type=Path, required=True, help="PNG file to write: a grid of the first samples")
