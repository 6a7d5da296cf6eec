"""The finished parts of a clip's results, from which a killed run resumes: a hidden folder beside the results.

A part holds FRAMES_PER_PART frames of each kind of video, the times of these frames, and what the next part needs to know of
them. It gets its name when all of it is on disk. The bytes of the results are the same whether a run was killed or not.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from depthmask.base.files import hash_json, hold_lock, read_json, remove_any, replace_file, replace_folder, write_csv, write_json
from depthmask.base.paths import NAME_BYTES_MAX, make_result_name, show_path
from depthmask.video.background import FoundBackground
from depthmask.video.smoothing import Steady

FRAMES_PER_PART = 240
COLUMNS = ("frame", "time_s", "pts", "duration")
KEY, TIMES, STATE, BACKGROUND, BACKGROUND_FACTS = "key.json", "frames.csv", "state.npz", "background.png", "background.json"


@dataclass(frozen=True)
class State:
    """What a part passes on. num_frames: of all parts so far. steady: of the smoother. depth_range: of the painter.

    network_sizes_px: width and height at which the network saw the frames for depth, and for the mask.
    """

    num_frames: int = 0
    network_sizes_px: tuple[int, ...] = (0, 0, 0, 0)
    steady: Steady | None = None
    depth_range: tuple[float, float] | None = None


class Parts:
    """The parts in a folder. resumed: how many frames were there already."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.state = self._find_state()
        self.resumed = self.state.num_frames

    def list(self) -> list[Path]:
        """The folders of finished parts, in order."""
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit())

    @contextmanager
    def add(self, read_state: Callable[[], State]) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
        """Yield a folder to write the next part to, and a list for the times of its frames; it counts if the block succeeds."""
        finished = self.list()
        rows: list[dict[str, Any]] = []
        with replace_folder(self.folder / f"{len(finished):06d}") as part:
            yield part, rows
            write_csv(part / TIMES, COLUMNS, rows)
            state = read_state()
            (part / STATE).write_bytes(_pack_state(state))
        self.state = state
        if finished:
            (finished[-1] / STATE).unlink(missing_ok=True)  # only the last one is needed

    def read_times(self) -> Iterator[dict[str, int]]:
        """The rows of all parts; duration: to the next frame, of the last one its own or that of the one before."""
        rows = self._read_rows()
        row, between = next(rows, None), 1
        while row is not None:
            after = next(rows, None)
            between = after["pts"] - row["pts"] if after is not None else row["duration"] or between
            yield row | {"duration": between}
            row = after

    def _read_rows(self) -> Iterator[dict[str, int]]:
        for part in self.list():
            with (part / TIMES).open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    yield {name: int(row[name]) for name in ("frame", "pts", "duration")}

    def keep_background(self, find: Callable[[], FoundBackground]) -> FoundBackground:
        """What `find` finds; of a resumed run, what it found then."""
        facts, image = self.folder / BACKGROUND_FACTS, self.folder / BACKGROUND
        if facts.exists():
            values = read_json(facts)
            return FoundBackground(np.array(Image.open(image)), values["num_frames"], values["unsure"])
        found = find()
        with replace_file(image) as part:
            Image.fromarray(found.image).save(part, format="PNG")
        write_json(facts, {"num_frames": found.num_frames, "unsure": found.unsure})
        return found

    def _find_state(self) -> State:
        finished = self.list()
        while finished:  # a disk may lose what was written last
            with suppress(OSError, ValueError, KeyError, EOFError):
                return _unpack_state((finished[-1] / STATE).read_bytes())
            for path in finished:  # without its state nothing can be resumed
                remove_any(path)
            finished = []
        return State()


@contextmanager
def hold_parts(out: Path, key: dict[str, Any], report: Callable[[str], None]) -> Iterator[Parts]:
    """Hold the parts of the results with the prefix `out`; they are removed if the block succeeds.

    key: all that decides the results, as JSON; parts that another key made are removed first.

    Raises:
        UserError: another process is writing them.
    """
    name = make_result_name(out.name, NAME_BYTES_MAX - 40, any_bytes=True)
    folder = out.with_name(f".{name}.parts")
    busy = f"{show_path(out)}: another run is writing these results; wait for it or stop it"
    with hold_lock(folder, refusal=busy):
        wanted = {"key": hash_json(key)}
        if not (folder / KEY).exists() or _read_key(folder / KEY) != wanted:
            others = [path for path in folder.iterdir() if path.name != "lock"]
            if any(path.name.isdigit() for path in others):
                report(f"{show_path(folder)}: was left by a run with another clip, model or options; starting over")
            for path in others:
                remove_any(path)
            write_json(folder / KEY, wanted)
        parts = Parts(folder)
        try:
            yield parts
        except BaseException:
            if not parts.list():  # nothing to resume from
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _read_key(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return read_json(path)
    return None


def _pack_state(state: State) -> bytes:
    arrays: dict[str, Any] = {
        "num_frames": state.num_frames, "network_sizes_px": state.network_sizes_px, "depth_range": state.depth_range or ()
    }  # fmt: skip
    packed = io.BytesIO()
    np.savez(packed, **arrays, **(state.steady._asdict() if state.steady is not None else {}))
    return packed.getvalue()


def _unpack_state(data: bytes) -> State:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = tuple(map(float, arrays["depth_range"]))
        steady = None
        if "mask" in arrays:
            steady = Steady(arrays["mask"], arrays["depth"], arrays["picture"], float(arrays["time_s"]))
        sizes = tuple(map(int, arrays["network_sizes_px"]))
        return State(int(arrays["num_frames"]), sizes, steady, (values[0], values[1]) if values else None)
