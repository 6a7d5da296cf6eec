"""Clips are read frame by frame: upright, with their own times and colours; what is wrong with a file is one line."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from making_clips import TICKS, draw_walk, write_clip

from depthmask.base.errors import UserError
from depthmask.video import clip as clip_module
from depthmask.video.background import KEPT_MAX, EvenSamples, find_background
from depthmask.video.clip import Clip
from depthmask.video.names import is_clip, parse_span, show_time


def ignore() -> None:
    pass


def test_frames_keep_times_that_are_uneven_and_do_not_begin_at_zero(tmp_path):
    pts = [3003, 4004, 5005, 8008, 9009, 15015]
    images, _ = draw_walk(len(pts))
    path = write_clip(tmp_path / "a.mp4", images, pts)
    clip = Clip(path)
    frames = list(clip.read_frames())
    assert [frame.pts * clip.time_base for frame in frames] == [time * TICKS for time in pts]
    assert [frame.number for frame in frames] == list(range(6))
    assert clip.size_px == (64, 48) and clip.frames_expected == 6 and not clip.turned
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.read().astype(int) - image).max() <= 6


@pytest.mark.parametrize(
    ("turn", "upright"),
    [
        ((90,), lambda image: np.rot90(image)),
        ((180,), lambda image: np.rot90(image, 2)),
        ((270,), lambda image: np.rot90(image, 3)),
        ((0, True), lambda image: image[:, ::-1]),
        ((0, False, True), lambda image: image[::-1]),
        ((90, True), lambda image: np.rot90(image)[:, ::-1]),
        ((270, True), lambda image: np.rot90(image, 3)[:, ::-1]),
    ],
)
def test_frames_are_turned_as_their_display_matrix_says(tmp_path, turn, upright):
    image = draw_walk(3)[0][0]
    clip = Clip(write_clip(tmp_path / "a.mp4", [image, image], turn=turn))
    expected = upright(image)
    frame = next(clip.read_frames()).read()
    assert clip.turned and clip.size_px == (expected.shape[1], expected.shape[0])
    assert np.abs(frame.astype(int) - expected).max() <= 6


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), "ITU601"), ((64, 48), "ITU709"), ((1280, 16), "untagged HD")])
def test_colours_are_read_with_the_matrix_that_the_clip_declares_or_players_assume(tmp_path, size, matrix):
    image = np.full((size[1], size[0], 3), (200, 60, 30), np.uint8)
    path = write_clip(tmp_path / "a.mkv", [image], matrix="ITU709" if matrix == "ITU709" else None)
    if matrix == "untagged HD":
        with av.open(str(path), "w") as output:  # converted by BT.709, and not said
            stream = output.add_stream("libx264", options={"qp": "1"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv444p", dst_colorspace="ITU709")
            frame.pts, frame.time_base, frame.colorspace = 0, Fraction(1, 25), 2
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    assert np.abs(next(Clip(path).read_frames()).read().astype(int) - image).max() <= 4


def spoil(kind: str, folder: Path) -> Path:
    images, _ = draw_walk(40, noise=8)
    path = folder / "clip.mp4"
    if kind == "text":
        path.write_text("no clip")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "playlist":
        other = write_clip(folder / "other.mp4", images)
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{other}\n#EXT-X-ENDLIST\n")
    elif kind == "sound":
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    elif kind == "cut":
        data = write_clip(path, images).read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    elif kind == "cut mkv":
        path = folder / "clip.mkv"
        data = write_clip(path, images).read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    elif kind == "hole":
        data = bytearray(write_clip(path, images).read_bytes())
        middle = len(data) // 2
        data[middle : middle + 3000] = bytes(3000)
        path.write_bytes(data)
    return path


FAULTS = {
    "missing": "no such file",
    "folder": "is a folder",
    "text": "damaged, cut off, or no clip in a format that is read",
    "empty": "damaged, cut off, or no clip in a format that is read",
    "playlist": "damaged, cut off, or no clip in a format that is read",
    "cut": "damaged, cut off, or no clip in a format that is read",
    "sound": "has no video stream, only sound",
    "cut mkv": "but should last 0:01.60: it was cut off; replace it, or predict what is there with --skip-damaged",
    "hole": "repair the clip, or leave such frames out with --skip-damaged",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_wrong_with_a_clip_is_one_line_that_names_it(tmp_path, kind):
    path = spoil(kind, tmp_path)
    with pytest.raises(UserError) as caught:
        for _ in Clip(path).read_frames():
            pass
    message = str(caught.value)
    assert message.startswith(str(path)) and FAULTS[kind] in message and "\n" not in message


@pytest.mark.parametrize("form", ["mp4", "mkv", "ts"])
def test_a_video_that_starts_after_its_sound_is_whole(tmp_path, form):
    images, _ = draw_walk(20)
    pts = [3000 + 40 * number for number in range(20)]
    clip = Clip(write_clip(tmp_path / f"a.{form}", images, pts, time_base=Fraction(1, 1000), sound_s=4))
    assert len(list(clip.read_frames())) == 20


@pytest.mark.parametrize("kind", ["hole", "cut mkv"])
def test_damaged_frames_are_left_out_on_demand_and_counted(tmp_path, kind):
    clip = Clip(spoil(kind, tmp_path))
    frames = list(clip.read_frames(skip_damaged=True))
    assert 5 < len(frames) < 40
    times = [frame.pts for frame in frames]
    assert times == sorted(set(times))
    assert (clip.faults.left_out > 0) == (kind == "hole")


@pytest.mark.parametrize("form", ["mp4", "mkv", "avi", "ts"])
def test_bytes_changed_anywhere_are_read_or_rejected_in_a_line(tmp_path, form):
    path = write_clip(tmp_path / f"a.{form}", draw_walk(12, noise=8)[0])
    whole, rng, rejected = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(12):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 20):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        for skip_damaged in (False, True):
            try:
                for frame in Clip(path).read_frames(skip_damaged):
                    assert frame.read().shape[2] == 3
            except UserError as error:
                rejected += 1
                assert str(error).startswith(str(path)) and "\n" not in str(error)
    assert rejected > 0


def test_frames_that_change_their_size_are_an_error(tmp_path):
    small, large = draw_walk(3)[0], draw_walk(3, (96, 48))[0]
    first, second = (write_clip(tmp_path / f"{name}.ts", images) for name, images in (("a", small), ("b", large)))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(UserError, match=r"frames change from 64 x 48 to 96 x 48 px"):
        list(Clip(first).read_frames())


def test_without_pyav_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"clips need the package av; install with: pip install -e '\.\[video\]'"):
        Clip(tmp_path / "a.mp4")


def test_times_that_do_not_rise_are_moved_and_counted(tmp_path, monkeypatch):
    clip = Clip(write_clip(tmp_path / "a.mp4", draw_walk(4)[0]))

    class Decoded:
        def __init__(self, pts):
            self.pts, self.dts, self.duration, self.width, self.height, self.side_data = pts, None, 10, 64, 48, {}

    monkeypatch.setattr(clip_module.Clip, "_decode", lambda *_: map(Decoded, [-20, 0, 0, -5, None, 1200]))
    frames = clip.read_frames(skip_damaged=True)
    assert [frame.pts for frame in frames] == [0, 20, 21, 22, 32, 1220]
    assert clip.faults.moved == 2 and clip.shift == 20


def test_the_median_of_a_clip_is_the_room_without_who_walks_through_it(tmp_path):
    images, room = draw_walk(30, noise=4)
    clip = Clip(write_clip(tmp_path / "a.mp4", images))
    found = find_background(clip, None, False, ignore)
    assert found.image.shape == room.shape and found.num_frames == 30
    assert np.abs(found.image.astype(int) - room).max() <= 12
    assert found.unsure < 0.01


def test_the_median_of_a_span_holds_only_what_is_there_then(tmp_path):
    _, room = draw_walk(2)
    taken = room.copy()
    taken[:, 30:50] = 255
    clip = Clip(write_clip(tmp_path / "a.mp4", [taken] * 20 + [room] * 5 + [taken] * 5))
    whole = find_background(clip, None, False, ignore)
    span = find_background(clip, (0.8, 0.96), False, ignore)
    assert np.abs(whole.image.astype(int) - taken).max() <= 4
    assert np.abs(span.image.astype(int) - room).max() <= 4 and span.num_frames == 5
    with pytest.raises(
        UserError, match=r"--background-span 0:05\.00-0:09\.00: .*a\.mp4 has no frame there; its last one is at 0:01\.16"
    ):
        find_background(clip, (5, 9), False, ignore)


def test_a_camera_that_moves_is_found_out(tmp_path):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (48, 400, 3), dtype=np.uint8).repeat(4, 1)
    clip = Clip(write_clip(tmp_path / "a.mp4", [scene[:, 40 * n : 40 * n + 64] for n in range(20)]))
    assert find_background(clip, None, False, ignore).unsure > 0.5


@pytest.mark.parametrize("count", [1, KEPT_MAX, KEPT_MAX + 1, 1000])
def test_samples_are_bounded_and_evenly_spread_whatever_the_length(count):
    samples = EvenSamples()
    for number in range(count):
        samples.add(lambda number=number: np.full((1, 1, 3), number % 256, np.uint8))
    assert min(count, KEPT_MAX // 2) <= len(samples.kept) <= KEPT_MAX
    assert [int(one[0, 0, 0]) for one in samples.kept] == [n % 256 for n in range(0, count, samples.stride)]


def test_spans_and_times_are_read_and_shown():
    assert parse_span("0:03-0:05") == (3, 5)
    assert parse_span("3-5.5") == (3, 5.5)
    assert parse_span("1:02:03-1:02:10.25") == (3723, 3730.25)
    for text in ("5-3", "3", "a-b", "0:03", "3-3", "-1-4", ""):
        with pytest.raises(UserError):
            parse_span(text)
    assert (show_time(3.2), show_time(3723), show_time(59.999)) == ("0:03.20", "1:02:03.00", "1:00.00")
    assert is_clip(Path("a.MP4")) and not is_clip(Path("a.gif"))
