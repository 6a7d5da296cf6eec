"""How often a 95 % interval contains the truth, on made-up scores whose truth is known.

    PYTHONPATH=workflow python benchmarks/interval_coverage.py [--runs N] [--json FILE]

Each run makes up the scores of a test set like the real ones: every background and cut-out has an effect of its own, drawn again
in each run, and every image another. Their sizes are what a scenario sets. The truth is the mean over all backgrounds and
cut-outs there could be. Compared are the intervals of `depthmask.intervals`, and what is often reported: the mean and 1.96
standard errors, as if images were independent.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_json
from depthmask.base.terminal import track
from depthmask.intervals.bootstrap import Bootstrap
from depthmask.intervals.clusters import find_clusters

SKEW_SAMPLES = 2_000_000


class Scenario(NamedTuple):
    """Standard deviations of the effects of backgrounds, cut-outs and single images. skewed: scores end at 1, most near it."""

    name: str
    num_backgrounds: int
    num_cutouts: int
    num_images: int
    background: float
    cutout: float
    image: float
    skewed: bool = False


SCENARIOS = (
    Scenario("backgrounds and cut-outs matter alike", 24, 24, 384, 1.0, 1.0, 1.0),
    Scenario("backgrounds matter most, as for depth", 24, 24, 384, 1.0, 0.2, 0.5),
    Scenario("cut-outs matter most, as for masks", 24, 24, 384, 0.2, 1.0, 0.5),
    Scenario("images are independent", 24, 24, 384, 0.0, 0.0, 1.0),
    Scenario("the first, with skewed scores", 24, 24, 384, 1.0, 1.0, 1.0, skewed=True),
    Scenario("the first, with few backgrounds and cut-outs", 10, 10, 384, 1.0, 1.0, 1.0),
    Scenario("the first, with more backgrounds than cut-outs", 75, 18, 384, 1.0, 1.0, 1.0),
)


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="of each scenario (%(default)s)")
    parser.add_argument("--json", type=Path, help="JSON file to write: the fractions and widths")
    args = parser.parse_args(argv)
    print(f"{'scenario':48} {'ours':>7} {'width':>7} {'naive':>7} {'width':>7}")
    results = {}
    for scenario in SCENARIOS:
        found = results[scenario.name] = simulate(scenario, args.runs)
        print(
            f"{scenario.name:48}" + "".join(f" {found[key]:7.3f}" for key in ("ours", "width", "naive", "naive_width")),
            flush=True,
        )
    if args.json:
        write_json(args.json, results)
    return 0


def simulate(scenario: Scenario, num_runs: int) -> dict[str, float]:
    """The fraction of runs whose interval contains the truth, and the mean width of the intervals; of both kinds."""
    rows = [
        {"background": f"b{i % scenario.num_backgrounds}", "cutout": f"c{pair_cutout(i, scenario)}"}
        for i in range(scenario.num_images)
    ]
    clusters, truth = find_clusters(rows), find_truth(scenario)
    found = dict.fromkeys(("ours", "width", "naive", "naive_width"), 0.0)
    for run in track(range(num_runs), scenario.name, "runs", num_runs):
        random = np.random.default_rng([1, run])
        effects = (
            scenario.background * random.normal(size=scenario.num_backgrounds)[clusters.ways["background"]]
            + scenario.cutout * random.normal(size=scenario.num_cutouts)[clusters.ways["cutout"]]
            + scenario.image * random.normal(size=scenario.num_images)
        )
        values = bend(effects) if scenario.skewed else effects
        (interval,) = Bootstrap(clusters, run).find_intervals(values[:, None])
        half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
        found["ours"] += interval.low <= truth <= interval.high
        found["width"] += interval.high - interval.low
        found["naive"] += abs(values.mean() - truth) <= half
        found["naive_width"] += 2 * half
    return {key: round(value / num_runs, 4) for key, value in found.items()}


def pair_cutout(index: int, scenario: Scenario) -> int:
    """The cut-out of an image, as the composer pairs them: each as often as the others."""
    turn = math.lcm(scenario.num_backgrounds, scenario.num_cutouts)
    return (index + index // turn) % scenario.num_cutouts


def bend(effects: np.ndarray) -> np.ndarray:
    """Scores of 0..1, most of them above 0.8, as those of good masks."""
    return 1 / (1 + np.exp(-(1.5 + effects)))


def find_truth(scenario: Scenario) -> float:
    """The mean over all images there could be."""
    if not scenario.skewed:
        return 0.0
    spread = math.hypot(scenario.background, scenario.cutout, scenario.image)
    return float(bend(spread * np.random.default_rng(0).normal(size=SKEW_SAMPLES)).mean())


if __name__ == "__main__":
    sys.exit(main())
