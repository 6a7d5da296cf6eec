"""Writes the cross-validation as Markdown and as a self-contained page, with the same tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from depthmask.cross_validation.params import CrossValidationParams, describe_leak
from depthmask.cross_validation.results import Results
from depthmask.cross_validation.scored_part import KINDS
from depthmask.cross_validation.table import SHOWN, SPREADS, Baselines, Row, find_rows
from depthmask.cross_validation.variance import PARTS
from depthmask.reporting.rendering import load_template
from depthmask.scores import Prominence, ScoreSpec, list_scores
from depthmask.scores.labels import BASELINES, NOTHING, describe_coverage, find_best_baseline, format_score, make_heading

HEADINGS = {"seed": "seed", "fold": "fold", "background": "background", "cutout": "cut-out", "picture": "picture", "rest": "rest"}
ZERO = "0 *"  # for an estimate that was negative
ITEMS = {"background": "backgrounds", "cutout": "cut-outs"}
PLOT_WIDTH, PLOT_MARGIN = 640.0, 10.0  # of the viewBox
ROW_HEIGHT = 26.0


class Table(NamedTuple):
    """title: also the anchor's text. numbers: whether a column holds numbers. rows: of cells, as text."""

    title: str
    header: list[str]
    numbers: list[bool]
    rows: list[list[str]]
    notes: list[str]


class Strip(NamedTuple):
    """A plot of one score: each run a dot at x in the row of its fold; ticks: (x, text). height: of the viewBox."""

    title: str
    rows: list[tuple[str, float, list[tuple[float, str]]]]
    ticks: list[tuple[float, str]]
    mean: float
    height: float


def make_tables(results: Results, rows: Sequence[Row], runs: Sequence[Row], baselines: Baselines) -> list[Table]:
    """The tables of Markdown and page. rows, runs, baselines: from `table`."""
    unit = results.source["depth_unit"]
    return [
        _make_score_table(find_rows(rows), baselines, unit),
        _make_variance_table(find_rows(rows), unit),
        _make_run_table(runs, unit),
    ]


def _make_score_table(rows: Mapping[str, Row], baselines: Baselines, unit: str) -> Table:
    header = ["score", "mean", "95 % interval", "runs", "seeds", "folds", "one run ±", "images", "best baseline"]
    cells = []
    for column, row in rows.items():
        spec = SHOWN[column]
        ranges = [_show_range(row, spread) for spread in SPREADS]
        best = _show_best(baselines, spec)
        images = f"{row['num_images']:,}" if row["num_images"] else NOTHING
        interval = _show_ends(row["low"], row["high"])
        cells.append(
            [_name(spec, unit), format_score(row["mean"]), interval, *ranges, format_score(row["sd_one_run"]), images, best]
        )
    notes = [
        "mean: over all images, each the mean of its seeds. Ranges: the lowest and the highest mean of a single run, of a seed"
        " over all folds, and of a fold over all seeds.",
        "95 % interval: of the mean, for other backgrounds and cut-outs than these: each is resampled with all images that show"
        " its group. It does not cover other seeds or folds.",
        "one run ±: the standard deviation that the score of a single training on a single split has, by the parts of the"
        " variance below. Of two settings, each trained once on a split of its own, only a difference of about three times this"
        " says which is better.",
    ]
    notes += [f"{_name(SHOWN[column], unit)}: {NOTHING} {row['note']}." for column, row in rows.items() if row["note"]]
    return Table("Scores", header, [False, *[True] * 7, False], cells, notes)


def _make_variance_table(rows: Mapping[str, Row], unit: str) -> Table:
    cells = []
    for column, row in rows.items():
        zeros = row["set_to_zero"].split()
        cells.append(
            [_name(SHOWN[column], unit), *(ZERO if part in zeros else format_score(row[f"sd_{part}"]) for part in PARTS)]
        )
    notes = [
        "Standard deviations, in the unit of the score, of the effects that add up to the score of an image in one run. seed:"
        " another training on the same fold. fold: other data to train on, and what the images of a fold have in common beyond"
        " their backgrounds and cut-outs. background, cut-out: another one in the image. picture: the composite itself. rest: one"
        " picture, from one training to the next.",
        "In the score of a test set, background and cut-out shrink with more backgrounds and cut-outs, picture and rest with more"
        " images; seed and fold do not.",
    ]
    if any(cell == ZERO for row in cells for cell in row):
        notes.append("*: the estimate was negative and is set to 0: the part is small, or too few runs to see it.")
    if any(row["sd_seed"] is None and row["mean"] is not None for row in rows.values()):
        notes.append(f"{NOTHING}: cannot be told from another part; with one seed, seed counts as fold, and rest as picture.")
    return Table("Parts of the variance", ["score", *HEADINGS.values()], [False, *[True] * len(PARTS)], cells, notes)


def _make_run_table(runs: Sequence[Row], unit: str) -> Table:
    header = ["fold", "seed", "images", *(_name(spec, unit) for spec in SHOWN.values())]
    cells = [
        [str(run["fold"]), str(run["seed"]), f"{run['num_images']:,}", *(format_score(run[column]) for column in SHOWN)]
        for run in runs
    ]
    return Table("Runs", header, [True] * len(header), cells, [])


def describe_conditions(init: str | None, settings: CrossValidationParams, results: Results) -> list[str]:
    """How the runs were made, one sentence each. init: the model file that training starts from."""
    num_folds, num_seeds = len(settings.folds), len(settings.seeds)
    length = "as long as params.yaml says"
    if settings.budget.amount is not None:
        length = f"with {settings.budget.amount:,} {settings.budget.kind} each"
    sentences = [
        f"{num_folds * num_seeds} training runs of params.yaml ({results.source['name']}), {length}: {num_folds} folds from"
        f" {num_seeds} {'seed' if num_seeds == 1 else 'seeds'} ({', '.join(map(str, settings.seeds))}).",
        "Every background and every cut-out, with its copies and the others of its group, is in the test part of exactly one"
        " fold; a fold's images pair its own backgrounds and cut-outs only. All seeds of a fold are scored on the same images.",
    ]
    if init is not None:
        sentences.append(describe_leak(init))
    if results.scored["background"] < results.tested["background"] or results.scored["cutout"] < results.tested["cutout"]:
        counted = [
            f"{results.scored[kind]:,} of {results.tested[kind]:,} {ITEMS[kind]}" for kind in KINDS if results.tested[kind]
        ]
        sentences.append(f"Scored images show {' and '.join(counted)}: raise evaluate.num_samples to test the others.")
    coverage = [describe_coverage(run.scores["test"], SHOWN.values()) for run in results.runs]
    sentences += [f"{line}." for line in dict.fromkeys(line for lines in coverage for line in lines)]
    return sentences


def build_markdown(conditions: Sequence[str], tables: Sequence[Table]) -> str:
    """The Markdown: the conditions, then the tables."""
    lines = ["# Cross-validation", "", *(f"- {sentence}" for sentence in conditions)]
    for table in tables:
        lines += ["", f"## {table.title}", "", _join(table.header), _join(["---:" if one else "---" for one in table.numbers])]
        lines += [_join(cells) for cells in table.rows]
        lines += ["", *(note.replace("*", "\\*") for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def build_page(
    conditions: Sequence[str], tables: Sequence[Table], results: Results, runs: Sequence[Row], rows: Sequence[Row]
) -> str:
    """The HTML page."""
    unit, found = results.source["depth_unit"], find_rows(rows)
    primary = [spec for spec in list_scores(at_least=Prominence.PRIMARY) if found.get(spec.column, {}).get("mean") is not None]
    strips = [_make_strip(spec, runs, found[spec.column]["mean"], unit) for spec in primary]
    template = load_template("cross_validation.html.j2", Path(__file__).parent / "templates")
    return template.render(conditions=conditions, tables=tables, strips=strips, width=PLOT_WIDTH)


def _make_strip(spec: ScoreSpec, runs: Sequence[Row], mean: float, unit: str) -> Strip:
    values = [run[spec.column] for run in runs if run[spec.column] is not None]
    low, high = min([*values, mean]), max([*values, mean])
    left, right = 70.0, PLOT_WIDTH - PLOT_MARGIN - 20

    def place(value: float) -> float:
        return round(left + (right - left) * ((value - low) / (high - low) if high > low else 0.5), 1)

    by_fold: dict[int, list[tuple[float, str]]] = {}
    for run in runs:
        if run[spec.column] is not None:
            label = f"fold {run['fold']}, seed {run['seed']}: {format_score(run[spec.column])}"
            by_fold.setdefault(run["fold"], []).append((place(run[spec.column]), label))
    rows = [(f"fold {fold}", (number + 0.7) * ROW_HEIGHT, dots) for number, (fold, dots) in enumerate(by_fold.items())]
    ticks = [(place(value), format_score(value)) for value in dict.fromkeys((low, high))]
    return Strip(_name(spec, unit), rows, ticks, place(mean), (len(rows) + 1.2) * ROW_HEIGHT)


def _name(spec: ScoreSpec, unit: str) -> str:
    return f"{make_heading(spec, unit)} {'↑' if spec.higher_is_better else '↓'}"


def _show_range(row: Row, spread: str) -> str:
    return _show_ends(row[f"{spread}_min"], row[f"{spread}_max"])


def _show_ends(low: float | None, high: float | None) -> str:
    return NOTHING if low is None else f"{format_score(low)} to {format_score(high)}"


def _show_best(baselines: Baselines, spec: ScoreSpec) -> str:
    name, best = find_best_baseline(baselines, spec) or ("", None)
    return NOTHING if best is None else f"{format_score(best)} ({BASELINES.get(name, name)})"


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
