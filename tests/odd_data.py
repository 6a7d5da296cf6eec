"""Data as people have them, before and after: each case is made here, run through download and pack, and judged.

    python tests/odd_data.py                            # what this code does with each case, and whether it is right
    PYTHONPATH=OTHER/workflow python tests/odd_data.py  # the same with another checkout's code

A case is right if it is read to the values that were put in, or refused in one line that has the words that help. Exit code 1
if any is wrong. The cases are in odd_cases.py and odd_values.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).parents[1]
HANG_S = 60  # nothing here takes a tenth of it
DEPTH_MAX = 10.0


@dataclass
class Outcome:
    """What came of a case. code: exit code, None if it hung; lines: of the terminal; found: of what was read, see `measure`."""

    code: int | None
    lines: list[str]
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return " ".join(self.lines)


Judge = Callable[[Outcome], str | None]


@dataclass(frozen=True)
class Case:
    """make writes the source into an empty folder and returns the keys of `download`; right returns what is wrong, or None."""

    name: str
    make: Callable[[Path], dict[str, Any]]
    right: Judge


def refuses(*words: str, unlike: str = "no such text") -> Judge:
    """Refused: an exit code, one `error:` line (and hints), no traceback, and each of the words in it, but not `unlike`."""

    def judge(outcome: Outcome) -> str | None:
        errors = [line for line in outcome.lines if line.startswith("error:")]
        if outcome.code == 0:
            return f"accepted: {outcome.found}"
        if outcome.code is None or "Traceback" in outcome.said or len(errors) != 1:
            return f"{len(errors)} error lines, exit code {outcome.code}: {outcome.said[-200:]}"
        said = " ".join(line for line in outcome.lines if line.startswith(("error:", "hint:"))).lower()
        missing = [word for word in words if word.lower() not in said]
        wrong = f"no word of {', '.join(missing)}: " if missing else f"{unlike}: " if unlike in said else None
        return wrong and wrong + errors[0]

    return judge


def reads(*words: str, **wanted: Any) -> Judge:
    """Read: exit code 0, each of the words printed, and each value of `measure` as wanted, numbers within 2 %."""

    def judge(outcome: Outcome) -> str | None:
        if outcome.code != 0:
            return f"exit code {outcome.code}: {outcome.said[-200:]}"
        wrong = {key: outcome.found.get(key) for key, value in wanted.items() if not _is_close(outcome.found.get(key), value)}
        missing = [word for word in words if word.lower() not in outcome.said.lower()]
        return (f"read as {wrong}, not {wanted}" if wrong else None) or (f"no word of {', '.join(missing)}" if missing else None)

    return judge


def either(*judges: Judge) -> Judge:
    """Right if one of the judges says so; else what the first one says."""

    def judge(outcome: Outcome) -> str | None:
        said = [judge(outcome) for judge in judges]
        return None if None in said else said[0]

    return judge


def _is_close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float):
        return abs(found - wanted) <= 0.02 * abs(wanted) + 1e-9
    return found == wanted


def run(case: Case, folder: Path) -> Outcome:
    """Make the case in a folder and run it through download and, where the layout needs it, pack."""
    source = folder / "source"
    source.mkdir(parents=True)
    params = write_params(folder / "params.yaml", case.make(source))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _alarm():
        try:
            code, found = _read(params, folder)
        except TimeoutError:
            code, found = None, {}
        except BaseException:
            traceback.print_exc()
            code, found = 1, {}
    return Outcome(code, printed.getvalue().splitlines(), found)


def _read(params: Path, folder: Path) -> tuple[int, dict[str, Any]]:
    from stages import download, pack

    raw, store, cache = folder / "raw", folder / "store", folder / "cache"
    code = download.main(["--params", str(params), "--out", str(raw), "--cache", str(cache)])
    if code == 0:
        code = pack.main(["--params", str(params), "--raw", str(raw), "--out", str(store)])
    return code, measure(raw, store) if code == 0 else {}


def measure(raw: Path, store: Path) -> dict[str, Any]:
    """num_backgrounds, num_cutouts, num_composites; depth: median in metres; known: fraction of pixels with depth; figure_px:
    median longer side of what is opaque, canvas_px: of the cut-outs; mask: mean of the composites' masks, 0..1."""
    from depthmask.sources import choose_folder, open_source
    from depthmask.sources.packed import PackedSource

    source = open_source(choose_folder(raw, store))
    found: dict[str, Any] = {f"num_{kind}": len(getattr(source, kind)) for kind in ("backgrounds", "cutouts")}
    scenes = [source.read_background(key) for key in source.backgrounds]
    known = [scene.valid for scene in scenes if scene.depth is not None]
    if known:
        depths = [scene.depth[scene.valid] for scene in scenes if scene.depth is not None]
        found["depth"] = float(np.median(np.concatenate(depths))) * DEPTH_MAX if sum(map(len, depths)) else None
        found["known"] = float(np.mean([np.mean(valid) for valid in known]))
    cutouts = [source.read_cutout(key) for key in source.cutouts]
    if cutouts:
        opaque = [np.argwhere(cutout.rgba[..., 3] > 127) for cutout in cutouts]
        found["figure_px"] = float(np.median([np.ptp(places, axis=0).max() + 1 if len(places) else 0 for places in opaque]))
        found["canvas_px"] = float(np.median([max(cutout.rgba.shape[:2]) for cutout in cutouts]))
    if isinstance(source, PackedSource):
        found["num_composites"] = len(source)
        batches = [source.read(row, source.sizes_px[0]) for row in range(len(source))]
        found["mask"] = float(np.mean([np.mean(batch.mask) / 255 for batch in batches]))
    return found


def write_params(path: Path, download: dict[str, Any]) -> Path:
    """params.yaml of this code with these keys of `download`; nested ones are merged."""
    from ruamel.yaml import YAML

    yaml = YAML()
    params = yaml.load((_find_workflow().parent / "params.yaml").read_text(encoding="utf-8"))
    for key, value in download.items():
        if isinstance(value, dict) and isinstance(params["download"].get(key), dict):
            params["download"][key].update(value)
        else:
            params["download"][key] = value
    params["pack"]["shards"] = 1
    params["compose"].update(fit="stretch", field_of_view_deg=None)  # so that the fraction of foreground stays
    params["model"]["background_input"] = False  # it asks some layouts for more than a case is about
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    return path


def _find_workflow() -> Path:
    import depthmask

    return Path(depthmask.__file__).parents[1]


@contextlib.contextmanager
def _alarm():
    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Print a line for each case; returns 1 if any is wrong."""
    from odd_cases import CASES
    from odd_values import CASES as VALUES

    num_wrong = 0
    for case in [*CASES, *VALUES]:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(case, Path(folder))
            wrong = case.right(outcome)
            shown = wrong or next((line for line in outcome.lines if line.startswith(("error:", "warning:"))), outcome.found)
            print(f"{'WRONG' if wrong else 'right'}  {case.name}: {str(shown).replace(folder, '...')[:220]}", flush=True)
        num_wrong += wrong is not None
    print(f"{num_wrong} of {len(CASES) + len(VALUES)} wrong")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.path[:0] = [str(PROJECT / "tests"), *os.environ.get("PYTHONPATH", str(PROJECT / "workflow")).split(os.pathsep)]
    sys.exit(main())
