"""Writes what differs from run to run (times, machine, commit, comparisons) to a small file beside the page.

The page loads it if present, so that the page itself has the same bytes after every run. It is a script, because a page opened
from disk cannot read other files; it only holds one value. The page's own script (report.js) turns it into elements, only of the
kinds made here, and inserts all text as plain text.

A text is a list of pieces: a string, or {"as": style, "text": string}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from depthmask.base.durations import format_seconds
from depthmask.comparison.differences import BETTER, WORSE
from depthmask.reporting.context import Context
from depthmask.reporting.inputs import TRAINING_STAGES, Inputs
from depthmask.runs.commit import COMMIT_CHARACTERS
from depthmask.scores import labels as words

SUFFIX = ".runs.js"
VARIABLE = "depthmaskRuns"  # set by the file and read by report.js
COST = ("began", "took", "images per second", "peak memory")
Piece = str | dict[str, str]
Text = Sequence[Piece]


def choose_runs_path(page: Path) -> Path:
    """reports/index.runs.js of reports/index.html."""
    return page.with_name(f"{page.stem}{SUFFIX}")


def build_runs(
    inputs: Inputs,
    context: Context,
    page: str,
    cards: Iterable[Mapping[str, Any]],
    hardware: Sequence[tuple[str, str]],
    show_value: Callable[[Any], str],
) -> str:
    """The file's text.

    page: the page's id, which must match. cards: the headline scores (`make_cards`). hardware: (name, value) of the machine.
    show_value: formats a param.
    """
    value = {
        "page": page,
        "words": {"training": ["in ", _style("bold", _sum_seconds(inputs, TRAINING_STAGES))]},
        "cards": {card["name"]: compare_card(card, context) for card in cards},
        "blocks": {
            "changes": describe_changes(context),
            "cost": describe_cost(inputs),
            "params": describe_params(context, show_value),
            "commit": describe_commit(inputs),
            "hardware": [{"kind": "properties", "rows": [list(row) for row in hardware]}],
        },
    }
    return f"window.{VARIABLE} = {json.dumps(value, indent=1)};\n"  # ASCII: independent of the encoding a server declares


def _style(style: str, text: object) -> dict[str, str]:
    return {"as": style, "text": str(text)}


def _paragraph(*pieces: Piece, kind: str = "text") -> dict[str, Any]:
    return {"kind": kind, "text": list(pieces)}


def _table(label: str, heads: Sequence[str], rows: Sequence[Sequence[Text]], **more: Any) -> dict[str, Any]:
    """numbers: which columns are right-aligned; foot: a last row."""
    return {"kind": "table", "label": label, "heads": list(heads), "rows": [list(row) for row in rows], "numbers": []} | more


def _sum_seconds(inputs: Inputs, stages: Sequence[str] = ()) -> str:
    return format_seconds(sum(float(run["seconds"]) for run in inputs.runs if not stages or run["stage"] in stages))


def compare_card(card: Mapping[str, Any], context: Context) -> list[Text]:
    """The comparisons of a headline score: with the commit, and with the leaderboard's best."""
    others = ((card["change"], f"the commit {context.changes.commit}"), (card["leader"], "the leaderboard’s best, "))
    texts: list[Text] = []
    for other, name in others:
        if other and other.get("verdict"):
            than = f" than {name}{other.get('name', '')} ({words.format_score(other['other'])})"
            if other["verdict"] == "equal":
                texts.append([_style("bold", "no change"), than.replace(" than ", " from ", 1)])
            else:
                style = other["verdict"] if other["verdict"] in (BETTER, WORSE) else "bold"
                texts.append([_style(style, f"{other['text']}, {other['verdict']}"), than])
    return texts


def describe_changes(context: Context) -> list[dict[str, Any]]:
    """What the changes in the headline scores refer to."""
    commit, lines = context.changes.commit, []
    if commit:
        own, other = _style("code", f"dvc metrics diff {commit}"), _style("code", "depthmask report --compare REVISION")
        lines.append(_paragraph("Changes are from ", own, " when this page was made. Another commit: ", other, ".", kind="note"))
        if context.changes.paired:
            text = (
                'In brackets: the 95 % interval of the change, from the same test images then and now. "Cannot tell" means that'
                " it contains 0. All scores: "
            )
            lines.append(_paragraph(text, _style("code", f"depthmask compare {commit}"), ".", kind="note"))
        elif context.changes.unpaired:
            lines.append(_paragraph(f"The changes have no intervals: {context.changes.unpaired}.", kind="note"))
    elif context.changes.reason:
        lines.append(_paragraph(f"No changes are shown: {context.changes.reason}.", kind="note"))
    if context.leaderboard:
        text = (
            "The leaderboard uses its own budget and image size, so the distance to its best is a hint, not a ranking. It is"
            " shown as it was when this page was made."
        )
        lines.append(_paragraph(text, kind="note"))
    return lines


def describe_cost(inputs: Inputs) -> list[dict[str, Any]]:
    """Time, speed, memory and commit of each stage."""
    rows: list[list[Text]] = []
    for run in inputs.runs:
        extra = run.get("extra", {})
        speed, memory = extra.get("images_per_second"), extra.get("peak_memory_mib")
        commit: list[Piece] = [_style("code", str(run["commit"])[:COMMIT_CHARACTERS]) if run["commit"] else "unknown"]
        measured = [
            [words.format_moment(run["started"])],
            [format_seconds(float(run["seconds"]))],
            [f"{speed:g}" if speed else _style("unknown", "not measured")],
            [f"{memory:.0f} MiB" if memory else _style("unknown", "not measured")],
        ]
        rows.append([[str(run["stage"])], *measured, [*commit, *([", with uncommitted changes"] if run["dirty"] else [])]])
    table = _table(
        "Time and memory of each stage",
        ["stage", *COST, "commit"],
        rows,
        numbers=[2, 3, 4],
        foot=[["together"], [], [_sum_seconds(inputs)], [], [], []],
    )
    text = (
        "Measured inside each stage, excluding Python’s startup. Memory is that of the stage’s own process, or of the GPU"
        " if it used one."
    )
    return [table, _paragraph(text, kind="note")]


def describe_params(context: Context, show_value: Callable[[Any], str]) -> list[dict[str, Any]]:
    """The params that differ from those of the compared commit."""
    commit = context.changes.commit
    if not commit:
        return []
    heading = _paragraph(f"Differences from commit {commit}", kind="heading")
    if not context.changes.params:
        return [heading, _paragraph("None, according to ", _style("code", f"dvc params diff {commit}"), ".")]
    rows = [[[_style("code", key)], [show_value(now)], [show_value(then)]] for key, then, now in context.changes.params]
    return [heading, _table("Params that differ from the commit", ["key", "now", "then"], rows)]


def describe_commit(inputs: Inputs) -> list[dict[str, Any]]:
    """The commit to check out to reproduce the same bytes, or why there is none."""
    commits = sorted({str(run["commit"] or "") for run in inputs.runs})
    if len(commits) == 1 and commits[0]:
        lines = [_paragraph(f"git checkout {commits[0]}", kind="command")]
    elif len(commits) > 1:
        lines = [_paragraph("The stages ran at different commits, listed above; a single one need not reproduce this page.")]
    else:
        reasons = sorted({str(run.get("commit_unknown") or "") for run in inputs.runs} - {""})
        reason = "; ".join(reasons) or "the project was not a git repository, or had no commit, when they ran"
        lines = [_paragraph(f"The commit is unknown: {reason}.")]
    if any(run["dirty"] for run in inputs.runs):
        said = _style("bold", "The working tree had uncommitted changes")
        lines.append(_paragraph(said, ", so the commit alone may not reproduce this page."))
    return lines
