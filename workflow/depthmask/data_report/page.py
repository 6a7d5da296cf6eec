"""The data report as a self-contained page: the same facts, with examples of each kind as images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthmask.base.files import write_text
from depthmask.base.terminal import escape_controls
from depthmask.data_report.looking import DataReport, KindReport
from depthmask.data_report.text import describe_number
from depthmask.reporting.rendering import load_template

TEMPLATES = Path(__file__).parent / "templates"
JPEG_QUALITY = 85
LEFT_OUT_SHOWN = 200


def write_page(reports: Sequence[DataReport], path: Path) -> None:
    """Write the page of one or more sources, atomically."""
    sources = [_show_report(report) for report in reports]
    write_text(path, load_template("data_report.html.j2", TEMPLATES).render(sources=sources))


def _show_report(report: DataReport) -> dict[str, Any]:
    left_out = [{name: escape_controls(entry[name]) for name in ("key", "reason")} for entry in report.left_out]
    return {
        "where": escape_controls(report.where),
        "layout": report.layout,
        "kinds": [_show_kind(kind) for kind in report.kinds],
        "findings": [{"line": escape_controls(finding.line), "is_error": finding.is_error} for finding in report.findings],
        "left_out": left_out[:LEFT_OUT_SHOWN],
        "num_left_out": len(left_out),
        "unread": [escape_controls(line) for line in report.unread],
    }


def _show_kind(kind: KindReport) -> dict[str, Any]:
    most = max((share for _, share in kind.bars), default=1.0)
    return {
        "name": kind.name,
        "number": describe_number(kind),
        "facts": [(label, escape_controls(value)) for label, value in kind.facts],
        "histogram": kind.histogram,
        "bars": [{"label": label, "share": share, "part": round(share / most, 4)} for label, share in kind.bars],
        "examples": [_show_example(kind.name, escape_controls(title), pictures) for title, pictures in kind.examples],
    }


def _show_example(kind: str, title: str, pictures: dict[str, np.ndarray]) -> dict[str, Any]:
    tiles = [
        {
            "src": _encode(picture),
            "alt": f"{caption} of {title}, {kind}",
            "caption": caption,
            "width": picture.shape[1],
            "height": picture.shape[0],
        }
        for caption, picture in pictures.items()
    ]
    return {"title": title, "properties": [], "tiles": tiles}


def _encode(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
