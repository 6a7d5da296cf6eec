"""Pages and cards from templates, with this project's way to write numbers and times."""

from __future__ import annotations

from pathlib import Path

import jinja2

from depthmask.reporting import words


def load_template(name: str, *folders: Path) -> jinja2.Template:
    """A template of `folders` or of reporting's own templates, whose style sheet each page includes.

    Filters: score (three decimals), seconds (2 h 05 min), moment (an ISO time as people write it).
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent / "templates"]),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": words.format_score, "seconds": words.format_seconds, "moment": words.format_moment}
    return environment.get_template(name)
