"""An interactive view of points as HTML, for mouse, touch and keyboard: drawn on a canvas by a script of our own, without WebGL.

It loads nothing. `make_figure` is for a page that has `read_style` and `read_script` once; `render_page` is a page of its own;
`render_frame` puts that page into another one whose own scripts, styles and policies it should not meet.

    from depthmask.point_clouds.viewer import render_frame
    html = render_frame(prediction.to_points(), "dog.jpg")
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path

import jinja2
import numpy as np

from depthmask.point_clouds.points import METRE, PointCloud

TEMPLATES = Path(__file__).with_name("templates")
SHOWN_MAX = 60_000  # points; each is 10 bytes, which take 13 in the page
STEPS = 65535  # of a coordinate between its smallest and its largest value: half a millimetre in 30 m
# a pixel's place in the order of who is shown, by column and row; every so many of that order are evenly spread over the photo
# (the R2 sequence: Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018)
ORDER_COLUMN, ORDER_ROW = 0.7548776662466927, 0.5698402909980532


def make_figure(points: PointCloud, label: str, shown_max: int = SHOWN_MAX) -> str:
    """Markup of the view, to be shown where `read_style` and `read_script` are in the page; any number of them.

    label: what is seen, for people who do not see it. Of more than shown_max points, that many are shown, spread over the photo.
    """
    return _render("figure.html.j2", points, label, shown_max)


def render_page(points: PointCloud, label: str, shown_max: int = SHOWN_MAX) -> str:
    """A page of nothing but the view, which fills it. Nothing but its own script can run in it, and nothing is loaded."""
    script = read_script()
    return _render("page.html.j2", points, label, shown_max, style=read_style(), script=script, script_hash=hash_script(script))


def render_frame(points: PointCloud, label: str, height_px: int = 480, shown_max: int = SHOWN_MAX) -> str:
    """The page inside an <iframe>: works as well where markup is inserted later, when no script in it would be run."""
    page = html.escape(render_page(points, label, shown_max))
    style = f"width: 100%; height: {height_px}px; border: 0"
    frame = f'<iframe title="{html.escape(label)}" sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'
    return frame.encode("ascii", "xmlcharrefreplace").decode()  # else, in a page read in another encoding, the hash is another


def read_script() -> str:
    """The script that drives every figure of the page it is in; it must come after them."""
    return (TEMPLATES / "points.js").read_text(encoding="utf-8")


def read_style() -> str:
    """The style sheet of the figures, in light and dark colours."""
    return (TEMPLATES / "points.css").read_text(encoding="utf-8")


def hash_script(text: str) -> str:
    """How a content security policy names a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def encode_points(points: PointCloud, shown_max: int = SHOWN_MAX) -> tuple[str, dict[str, object]]:
    """The points as the script reads them: base64, and what it needs to know of them.

    The bytes: N x 3 uint16 (little-endian), positions in STEPS from `low` to `high`; N x 3 uint8, colours; N uint8, 1 for the
    foreground. Equal points give equal text.
    """
    shown = _choose_shown(points, shown_max)
    positions = points.positions[shown].astype(np.float64)
    low, high = (positions.min(axis=0), positions.max(axis=0)) if len(positions) else (np.zeros(3), np.ones(3))
    span = np.where(high > low, high - low, 1.0)
    places = np.round((positions - low) / span * STEPS).astype("<u2")
    data = places.tobytes() + points.colours[shown].tobytes() + points.is_foreground[shown].astype(np.uint8).tobytes()
    settings = {
        "num": len(positions),
        "low": [round(float(value), 6) for value in low],
        "high": [round(float(value), 6) for value in low + span],
        "spacing": round(points.spacing_rad * (len(points) / max(1, len(positions))) ** 0.5, 8),  # the same area for fewer
        "unit": "m" if points.unit == METRE else "",
    }
    return base64.b64encode(data).decode(), settings


def _choose_shown(points: PointCloud, shown_max: int) -> np.ndarray:
    """Indices of at most shown_max points, in their order: not every so many, which might be whole columns of the photo."""
    if len(points) <= shown_max:
        return np.arange(len(points))
    columns, rows = (points.positions[:, :2].astype(np.float64) / points.positions[:, 2:] / points.spacing_rad).T
    order = (ORDER_COLUMN * columns + ORDER_ROW * rows) % 1
    return np.sort(np.argsort(order, kind="stable")[:shown_max])


def _render(template: str, points: PointCloud, label: str, shown_max: int, **content: str) -> str:
    data, settings = encode_points(points, shown_max)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        data=data, settings=json.dumps(settings), label=label, num_foreground=int(points.is_foreground.sum()), **content
    )
