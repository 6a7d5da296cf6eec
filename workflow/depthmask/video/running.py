"""Predicts one clip and writes its results: part by part, then joined, so that a killed run resumes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from depthmask import __version__
from depthmask.base.durations import format_seconds
from depthmask.base.errors import Interrupted, UserError
from depthmask.base.files import hash_file, replace_file
from depthmask.base.paths import NAME_BYTES_MAX, is_folder, make_result_name, show_path
from depthmask.base.terminal import NOTHING_KEPT, Bar, count
from depthmask.compute.memory import bound_memory
from depthmask.data.images import read_photo
from depthmask.serving.each_photo import Models
from depthmask.serving.predictor import PhotoPredictor
from depthmask.video.background import UNSURE_SHARE, FoundBackground, find_background
from depthmask.video.clip import Clip, Frame, import_av
from depthmask.video.joining import Sound, find_file, find_sound, join_parts, write_times
from depthmask.video.names import show_span
from depthmask.video.painting import Painter
from depthmask.video.parts import FRAMES_PER_PART, Parts, State, hold_parts
from depthmask.video.predicting import predict_frames
from depthmask.video.smoothing import Smoother
from depthmask.video.writing import SIDE_BY_SIDE, Kind, PartWriter

FRAMES_ENDING = "_frames.csv"
FORMAT = 1  # of the parts; another one starts over


@dataclass(frozen=True)
class Background:
    """Where the clean background is from: a picture, the median of the clip or of a span of it, or nowhere."""

    picture: Path | None = None
    median: bool = False
    span: tuple[float, float] | None = None

    @property
    def is_given(self) -> bool:
        return self.picture is not None or self.median or self.span is not None


@dataclass(frozen=True)
class Options:
    """How clips are predicted. smooth_s: time constant, None for not at all. depth: how depth is declared."""

    kinds: dict[str, Kind]
    depth: dict[str, Any]
    smooth_s: float | None = None
    hard: bool = False
    batch_size: int = 8
    skip_damaged: bool = False
    deciding: dict[str, Any] = field(default_factory=dict)  # what else decides the results, as JSON


def name_results(out: Path, kinds: dict[str, Kind]) -> dict[str, Path]:
    """The files that are written for a clip, by kind; `out`: their prefix. A long name is shortened until all of them fit."""
    endings = {name: kind.ending for name, kind in kinds.items()} | {"frames": FRAMES_ENDING}
    start = make_result_name(out.name, NAME_BYTES_MAX - max(map(len, endings.values())), any_bytes=True)
    return {name: out.with_name(start + ending) for name, ending in endings.items()}


def predict_clip(
    models: Models, path: Path, out: Path, background: Background, options: Options, note: Callable[[str], None]
) -> dict[str, Any]:
    """Write all results of a clip, or none, and return its entry for predictions.json.

    Raises:
        UserError: as `Clip` and `predict` do; or a folder is in the place of a result.
        Interrupted: a signal arrived; what is finished is kept.
        OSError: a file cannot be written.
    """
    files = name_results(out, options.kinds)
    for file in files.values():
        if is_folder(file):
            raise UserError(f"{file}: is a folder, in the place of a result of {path}; move it away, or choose another --out")
    clip = Clip(path)
    if clip.transfer is not None:
        note(f"{show_path(path)}: is HDR ({clip.transfer}), which is not tone-mapped; an SDR copy is predicted better")
    predictor = models.choose(background.is_given)
    if predictor.background_input and not background.is_given:
        raise UserError(
            f"{show_path(path)}: the model also takes the clean background; set --background FILE, --background median, or"
            " --background-span START-END for a part in which nobody is in view"
        )
    paths = models.paths[predictor.background_input]
    key = _describe_run(path, paths, background if predictor.background_input else Background(), options)
    with hold_parts(out, key, note) as parts:
        try:
            run = _Run(predictor, clip, background, options, parts, note)
            run.predict()
            facts = run.write(files)
        except KeyboardInterrupt:
            done = parts.state.num_frames
            kept = (
                f"{count(done, 'frame')} {'is' if done == 1 else 'are'} kept; rerun the same command to resume"
                if done
                else NOTHING_KEPT
            )
            raise Interrupted.by_signal(show_path(path), kept) from None
        return {
            "clip": show_path(path),
            **({"model": show_path(paths[0])} if len(paths) == 1 else {"models": [show_path(model) for model in paths]}),
            **facts,
            "files": {name: show_path(file.as_posix()) for name, file in files.items()},
        }


def _describe_run(path: Path, models: tuple[Path, ...], background: Background, options: Options) -> dict[str, Any]:
    return {
        "format": [FORMAT, __version__, import_av().__version__],
        "clip": hash_file(path),
        "models": [hash_file(model) for model in models],
        "background": [
            None if background.picture is None else hash_file(background.picture), background.median, background.span
        ],
        "kinds": {name: [kind.codec, kind.ending] for name, kind in options.kinds.items()},
        "smooth_s": options.smooth_s,
        "hard": options.hard,
        "batch_size": options.batch_size,
        "skip_damaged": options.skip_damaged,
        "deciding": options.deciding,
    }  # fmt: skip


class _Run:
    def __init__(
        self,
        predictor: PhotoPredictor,
        clip: Clip,
        background: Background,
        options: Options,
        parts: Parts,
        note: Callable[[str], None],
    ):
        self.predictor, self.clip, self.options, self.parts, self.note = predictor, clip, options, parts, note
        self.smoother = None if options.smooth_s is None else Smoother(options.smooth_s)
        if self.smoother is not None:
            self.smoother.state = parts.state.steady
        self.painter = Painter(clip.size_px, parts.state.depth_range)
        self.background_facts: dict[str, Any] | None = None
        self.clean_name = "the background" if background.picture is None else show_path(background.picture)
        self.clean = self._find_background(background) if predictor.background_input else None
        self._num_frames, self._sizes = parts.resumed, parts.state.network_sizes_px

    def predict(self) -> None:
        """Write all parts that are not there yet."""
        done, since = self.parts.resumed, time.monotonic()
        if done:
            self.note(f"{show_path(self.clip.path)}: resuming after {count(done, 'frame')}")
        with (
            closing(self.clip.read_frames(self.options.skip_damaged)) as frames,
            Bar(f"predicting {show_path(self.clip.path.name)}", "frames", self.clip.frames_expected) as bar,
        ):
            rest = itertools.islice(frames, done, None)
            bar.start(done, self.clip.frames_expected)
            while (first := next(rest, None)) is not None:
                self._write_part(itertools.chain([first], itertools.islice(rest, FRAMES_PER_PART - 1)), bar)
        number, seconds = self.parts.state.num_frames - done, time.monotonic() - since
        if number:
            rate = f"{number / seconds:.1f} a second"
            self.note(f"{show_path(self.clip.path)}: {count(number, 'frame')} predicted in {format_seconds(seconds)}, {rate}")

    def write(self, files: dict[str, Path]) -> dict[str, Any]:
        """Join the parts, and return what predictions.json says about the clip."""
        sound = find_sound(self.clip)
        declaration = {"mask": {"kind": "hard" if self.options.hard else "alpha", "raw_max": 255}, "depth": self.options.depth}
        with ExitStack() as whole:
            new = {name: whole.enter_context(replace_file(file)) for name, file in files.items()}
            for name, kind in self.options.kinds.items():
                here = sound if name == SIDE_BY_SIDE else Sound("")
                join_parts(self.parts, name, kind, new[name], self.clip.time_base, declaration, here)
            number, first_s, last_s = write_times(new["frames"], self.parts, self.clip.time_base)
        return {
            "background": self.background_facts,
            "size_px": list(self.clip.size_px),
            "network_size_px": list(self._sizes[:2]),
            "mask_network_size_px": list(self._sizes[2:]),
            "turned_upright": self.clip.turned,
            "frames": number,
            "time_base": str(self.clip.time_base),
            "first_time_s": round(first_s, 6),
            "last_time_s": round(last_s, 6),
            "smooth_s": self.options.smooth_s,
            "sound": sound.verdict if SIDE_BY_SIDE in self.options.kinds else "left out",
            "damaged_frames_left_out": self.clip.faults.left_out,
            "times_moved": self.clip.faults.moved,
        }

    def _write_part(self, frames: Iterator[Frame], bar: Bar) -> None:
        files_of = self.options.kinds
        with self.parts.add(self._read_state) as (folder, rows):
            files = {name: find_file(folder, name, kind) for name, kind in files_of.items()}
            aspect = self.clip.pixel_aspect
            with PartWriter(files, files_of, self.clip.time_base, aspect, self.options.hard) as writer:
                predicted = predict_frames(
                    self.predictor, self.clip, frames, self.clean, self.smoother, self.options.batch_size, self.clean_name
                )
                for frame in bound_memory(predicted):
                    writer.write(frame, self.painter)
                    rows.append(
                        {"frame": frame.number, "time_s": f"{frame.time_s:.6f}", "pts": frame.pts, "duration": frame.duration}
                    )
                    self._sizes = (*frame.prediction.network_size_px, *frame.prediction.mask_network_size_px)
                    bar.advance()
            self._num_frames = self.parts.state.num_frames + len(rows)

    def _read_state(self) -> State:
        steady = None if self.smoother is None else self.smoother.state
        return State(self._num_frames, self._sizes, steady, self.painter.depth_range)

    def _find_background(self, background: Background) -> np.ndarray:
        if background.picture is not None:
            self.background_facts = {"from": "picture", "file": show_path(background.picture)}
            return read_photo(background.picture)
        found = self.parts.keep_background(lambda: self._search_background(background.span))
        where = "the clip" if background.span is None else show_span(background.span)
        self.background_facts = {
            "from": f"median of {where}", "frames": found.num_frames, "unsure_share": round(found.unsure, 4)
        }  # fmt: skip
        if found.unsure > UNSURE_SHARE:
            self.note(
                f"{show_path(self.clip.path)}: in {found.unsure:.0%} of the background's pixels no colour is there most of the"
                " time: the camera moves, or somebody stands still; a picture or a --background-span without them is better"
            )
        return found.image

    def _search_background(self, span: tuple[float, float] | None) -> FoundBackground:
        expected = self.clip.frames_expected if span is None else None
        with Bar(f"background of {show_path(self.clip.path.name)}", "frames", expected) as bar:
            return find_background(self.clip, span, self.options.skip_damaged, bar.advance)
