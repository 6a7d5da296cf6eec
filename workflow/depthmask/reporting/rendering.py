"""Renders pages and cards from templates, with common filters for numbers and times."""

from __future__ import annotations

from pathlib import Path

import jinja2

from depthmask.base.durations import format_seconds
from depthmask.scores import labels as words

TEMPLATES = Path(__file__).parent / "templates"


def load_template(name: str, *folders: Path) -> jinja2.Template:
    """Load a template from `folders` or reporting/templates, whose style sheet every page includes.

    Filters: score (three decimals), seconds (2 h 05 min), moment (an ISO time for people), size (4.3 kB).
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": words.format_score,
        "seconds": format_seconds,
        "moment": words.format_moment,
        "size": words.format_bytes,
    }
    return environment.get_template(name)


def read_script() -> str:
    """The page's script."""
    return (TEMPLATES / "report.js").read_text(encoding="utf-8")
