"""Writes a comparison: to the terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from depthmask.base.terminal import make_console, make_table
from depthmask.comparison.comparison import Comparison
from depthmask.comparison.differences import BETTER, WORSE
from depthmask.comparison.words import (
    describe_images,
    describe_main_scores,
    describe_method,
    describe_params,
    describe_rest_of_params,
)

STYLES = {BETTER: "stage", WORSE: "error"}


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print the main scores, the params that differ and the images that changed most."""
    console = console or make_console(stderr=False)
    table = make_table(f"{comparison.a.title} against {comparison.b.title}")
    table.add_column("score")
    for heading in ("A", "B", "B - A"):
        table.add_column(heading, justify="right", style="value" if heading == "B" else "")
    table.add_column("95 % interval")
    table.add_column("B is")
    is_wide = console.width >= 80
    if is_wide:
        table.add_column("better", style="aside")
    for line in describe_main_scores(comparison):
        verdict = Text(line.verdict, style=STYLES.get(line.verdict, ""))
        table.add_row(*line[:5], verdict, *([line.better] if is_wide else []))
    console.print(table)
    console.print(describe_method(comparison), style="aside")
    for key, old, new in describe_params(comparison):
        console.print(f"{key}: {old} -> {new}", markup=False, highlight=False)
    rest = describe_rest_of_params(comparison)
    if rest:
        console.print(rest, style="aside")
    images = describe_images(comparison)
    if images:
        changed = make_table("images that changed most")
        for heading in ("score", "image", "shows"):
            changed.add_column(heading)
        for heading in ("A", "B", "B - A"):
            changed.add_column(heading, justify="right")
        for image in images:
            changed.add_row(*image)
        console.print(changed)


def build_markdown(comparison: Comparison) -> str:
    """A heading, the table of main scores, what it means, and the params and images folded away."""
    lines = [f"### {_escape(comparison.a.title)} against {_escape(comparison.b.title)}", ""]
    lines += _make_table(
        ["score", "A", "B", "B − A", "95 % interval", "B is"],
        "lrrrll",
        [[*line[:5], _embolden(line.verdict)] for line in describe_main_scores(comparison)],
    )
    lines += ["", describe_method(comparison), ""]
    params = describe_params(comparison)
    if params:
        lines += ["<details><summary>Params that differ</summary>", ""]
        lines += _make_table(["key", "A", "B"], "lll", [[f"`{key}`", old, new] for key, old, new in params])
        lines += ["", "</details>", ""]
    rest = describe_rest_of_params(comparison)
    lines += [rest, ""] if rest else []
    images = describe_images(comparison)
    if images:
        lines += ["<details><summary>Images that changed most</summary>", ""]
        lines += _make_table(["score", "image", "shows", "A", "B", "B − A"], "lllrrr", images)
        lines += ["", "</details>", ""]
    return "\n".join(lines)


def _make_table(heads: Sequence[str], aligned: str, rows: Sequence[Sequence[str]]) -> list[str]:
    ruler = ["---:" if one == "r" else "---" for one in aligned]
    return [f"| {' | '.join(_escape(cell) for cell in cells)} |" for cells in (heads, ruler, *rows)]


def _embolden(verdict: str) -> str:
    return f"**{verdict}**" if verdict in STYLES else verdict


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
