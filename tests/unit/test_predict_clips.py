"""depthmask predict of clips: what is written, that a killed run resumes with the same bytes, and errors in one line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from making_clips import TICKS, draw_walk, read_clip, write_clip
from making_models import make_card, save_by_background
from PIL import Image

import depthmask
from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, read_json
from depthmask.cli import main
from depthmask.video import parts as parts_module
from depthmask.video import running

PTS = [1000, 2001, 3002, 7007, 8008, 9009, 15000, 15001, 20000, 21000]
SIZE = (64, 48)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[bool, Path]:
    """Model files by whether they take a background."""
    return save_by_background(tmp_path_factory.mktemp("models"), lambda background: make_card(background_input=background))


@pytest.fixture
def clip(tmp_path, monkeypatch) -> Path:
    """clip.mp4 with times that are uneven, and room.png; the working folder is theirs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "FRAMES_PER_PART", 4)
    images, room = draw_walk(len(PTS), SIZE)
    write_clip(Path("clip.mp4"), images, PTS, sound_s=0.7)
    Image.fromarray(room).save("room.png")
    return Path("clip.mp4")


def predict(*arguments: str, model: Path, out: str = "out") -> int:
    return main(["predict", *arguments, "--model", str(model), "--out", out, "--device", "cpu", "--threads", "1"])


def list_names(folder: str | Path = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def hash_results(folder: str = "out") -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(Path(folder).iterdir()) if path.name != "predictions.json"}


def test_a_clip_gives_videos_that_hold_what_its_frames_give_as_photos(clip, models, capsys):
    assert predict("clip.mp4", "--background", "room.png", model=models[True]) == 0
    assert "out: 1 clip predicted" in capsys.readouterr().out
    names = ["clip_cutout.mov", "clip_depth.mp4", "clip_frames.csv", "clip_mask.mp4", "clip_side_by_side.mp4"]
    assert list_names() == [*names, "predictions.json"]  # and no folder of parts

    times, depths = read_clip(Path("out/clip_depth.mp4"))
    assert times == [pts * TICKS for pts in PTS]
    _, masks = read_clip(Path("out/clip_mask.mp4"))
    _, frames = read_clip(Path("clip.mp4"), "rgb24")
    model = depthmask.load(models[True], device="cpu")
    for frame, mask, depth in zip(frames, masks, depths, strict=True):
        prediction = model.predict(frame, "room.png")
        assert np.abs(mask.astype(int) - np.round(prediction.mask * 255)).max() <= 1  # another batch may change a level
        expected = np.round(prediction.depth / np.float32(prediction.depth_max) * 65535)
        assert depth.dtype == np.uint16 and np.abs(depth - expected).max() <= 8
    rows = list(csv.DictReader(Path("out/clip_frames.csv").read_text().splitlines()))
    assert [int(row["pts"]) for row in rows] == PTS and rows[3]["time_s"] == f"{7007 / 30000:.6f}"
    assert [int(row["duration"]) for row in rows[:3]] == [1001, 1001, 4005]


def test_files_say_what_their_values_mean_and_where_the_rest_is(clip, models):
    assert predict("clip.mp4", "--background", "room.png", "--smooth", "0.2", model=models[True]) == 0
    index = read_json(Path("out/predictions.json"))
    entry = index["clips"][0]
    assert index["failed"] == [] and entry["frames"] == 10 and entry["time_base"] == "1/30000" and entry["smooth_s"] == 0.2
    assert entry["background"] == {"from": "picture", "file": "room.png"} and entry["size_px"] == [64, 48]
    assert entry["files"]["depth"] == "out/clip_depth.mp4" and entry["sound"] == "copied to side_by_side"
    assert entry["network_size_px"] == [32, 24]
    with av.open("out/clip_depth.mp4") as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
        assert json.loads(container.metadata["depthmask"])["depth"] == index["depth"]
        assert index["depth"] == {"unit": "metre", "polarity": "near_is_small", "max": 8.0, "raw_max": 65535}
        assert not container.streams.audio
    with av.open("out/clip_side_by_side.mp4") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        sound = b"".join(bytes(packet) for packet in container.demux(container.streams.audio[0]))
    assert read_clip(Path("out/clip_side_by_side.mp4"))[0] == [pts * TICKS for pts in PTS]
    with av.open("clip.mp4") as container:
        assert sound and sound == b"".join(bytes(packet) for packet in container.demux(container.streams.audio[0]))
    times, cutouts = read_clip(Path("out/clip_cutout.mov"), "rgba")
    _, masks = read_clip(Path("out/clip_mask.mp4"))
    _, frames = read_clip(Path("clip.mp4"), "rgb24")
    assert times == [pts * TICKS for pts in PTS]
    for cutout, mask, frame in zip(cutouts, masks, frames, strict=True):
        assert np.abs(cutout[..., 3].astype(int) - mask).max() <= 2
        assert np.abs(cutout[..., :3].astype(int) - frame).mean() <= 3


def test_an_exact_cutout_and_only_the_videos_that_were_asked_for(clip, models):
    arguments = ("--write", "mask,cutout", "--cutout-codec", "ffv1", "--hard")
    assert predict("clip.mp4", *arguments, model=models[False]) == 0
    assert list_names() == ["clip_cutout.mp4", "clip_frames.csv", "clip_mask.mp4", "predictions.json"]
    _, cutouts = read_clip(Path("out/clip_cutout.mp4"), "rgba")
    _, masks = read_clip(Path("out/clip_mask.mp4"))
    _, frames = read_clip(Path("clip.mp4"), "rgb24")
    assert all((cutout == np.dstack([frame, mask])).all() for cutout, frame, mask in zip(cutouts, frames, masks, strict=True))
    assert set(np.unique(masks)) <= {0, 255}


def test_clips_stored_on_their_side_become_upright(clip, models):
    images, _ = draw_walk(3, SIZE)
    write_clip(Path("turned.mp4"), images, turn=(90,))
    assert predict("turned.mp4", model=models[False]) == 0
    _, masks = read_clip(Path("out/turned_mask.mp4"))
    assert masks[0].shape == (64, 48)
    with av.open("out/turned_mask.mp4") as container:
        assert next(container.decode(video=0)).rotation == 0
    entry = read_json(Path("out/predictions.json"))["clips"][0]
    assert entry["size_px"] == [48, 64] and entry["turned_upright"]


@pytest.mark.parametrize("turn", [(0,), (90,)])
def test_pixels_that_are_not_square_stay_so_in_every_video(clip, models, turn):
    write_clip(Path("wide.mp4"), draw_walk(3, SIZE)[0], turn=turn, pixel_aspect=Fraction(4, 3))
    assert predict("wide.mp4", model=models[False]) == 0
    for name in ("mask.mp4", "depth.mp4", "side_by_side.mp4", "cutout.mov"):
        with av.open(f"out/wide_{name}") as container:
            assert container.streams.video[0].sample_aspect_ratio == (Fraction(3, 4) if turn[0] else Fraction(4, 3)), name


@pytest.mark.parametrize("stop_at", [2, 6, 8])
def test_a_run_that_was_stopped_resumes_and_gives_the_same_bytes(clip, models, capsys, monkeypatch, stop_at):
    """After 2 frames no part is finished, after 6 and 8 the first is; with 8 frames done the second is finished, too."""
    arguments = ("clip.mp4", "--background", "median", "--smooth")
    assert predict(*arguments, model=models[True], out="whole") == 0
    write, seen = running.PartWriter.write, []

    def stop(self, frame, painter):
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(frame.number)
        write(self, frame, painter)

    monkeypatch.setattr(running.PartWriter, "write", stop)
    assert predict(*arguments, model=models[True]) == 130
    finished = stop_at // 4 * 4
    kept = (
        f"{finished} frames are kept; rerun the same command to resume" if finished else "nothing was saved; rerun to start over"
    )
    assert f"clip.mp4: stopped by Ctrl-C; {kept}" in capsys.readouterr().err
    assert not [name for name in list_names() if name.startswith("clip")]  # nothing half under a final name
    seen.clear()
    monkeypatch.setattr(running.PartWriter, "write", lambda *given: (seen.append(given[1].number), write(*given))[1])
    assert predict(*arguments, model=models[True]) == 0
    assert seen == list(range(finished, len(PTS)))
    assert (f"resuming after {finished} frames" in capsys.readouterr().err) == (finished > 0)
    assert hash_results() == hash_results("whole")
    assert read_json(Path("out/predictions.json")) == json.loads(
        Path("whole/predictions.json").read_text().replace("whole/", "out/")
    )


def test_a_run_stopped_while_its_files_are_written_keeps_all_frames_and_its_index(clip, models, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "join_parts", stop)
        assert predict("clip.mp4", "--write", "mask", model=models[False]) == 130
    assert "clip.mp4: stopped by Ctrl-C; 10 frames are kept; rerun the same command to resume" in capsys.readouterr().err
    assert list_names() == [".clip.parts", "predictions.json"]
    assert predict("clip.mp4", "--write", "mask", model=models[False]) == 0
    assert "resuming after 10 frames" in capsys.readouterr().err


def test_two_runs_do_not_write_the_same_results(tmp_path):
    with parts_module.hold_parts(tmp_path / "clip", {"a": 1}, print):
        with (
            pytest.raises(UserError, match="clip: another run is writing these results; wait for it or stop it"),
            parts_module.hold_parts(tmp_path / "clip", {"a": 1}, print),
        ):
            pass
        assert (tmp_path / ".clip.parts").exists()
    assert not (tmp_path / ".clip.parts").exists()


def predict_mask(model: Path, changes: dict) -> None:
    from depthmask.serving.each_photo import Models
    from depthmask.video.writing import choose_kinds

    loaded = depthmask.load(model, device="cpu")
    options = running.Options(choose_kinds(("mask",), "ffv1"), {}, **changes)
    models = Models({False: loaded}, {False: (model,)})
    running.predict_clip(models, Path("clip.mp4"), Path("out/clip"), running.Background(), options, print)


def test_parts_of_other_options_are_not_used(clip, models, capsys, monkeypatch):
    joined = []
    monkeypatch.setattr(running, "find_sound", lambda *_: joined.append(1) or (_ for _ in ()).throw(UserError("stopped")))
    with pytest.raises(UserError, match="stopped"):
        predict_mask(models[False], {})
    assert len([name for name in list_names("out/.clip.parts") if name.isdigit()]) == 3
    with pytest.raises(UserError, match="stopped"):
        predict_mask(models[False], {"hard": True})
    assert "was left by a run with another clip, model or options; starting over" in capsys.readouterr().out
    with pytest.raises(UserError, match="stopped"):
        predict_mask(models[False], {"hard": True})
    assert "resuming after 10 frames" in capsys.readouterr().out


def test_from_python_frames_come_one_by_one_and_are_bounded_by_the_batch(clip, models, monkeypatch):
    model = depthmask.load(models[True], device="cpu")
    read, seen = running.Frame.read, []
    monkeypatch.setattr(running.Frame, "read", lambda self: (seen.append(self.number), read(self))[1])
    frames = model.predict_video("clip.mp4", background="room.png", batch_size=2)
    first = next(frames)
    assert first.number == 0 and first.time_s == pytest.approx(1000 / 30000) and seen == [0, 1]
    assert first.prediction.mask.shape == first.image.shape[:2] == (48, 64)
    assert [frame.number for frame in frames] == list(range(1, 10))
    with pytest.raises(UserError, match="the model also takes the clean background"):
        next(model.predict_video("clip.mp4"))
    with pytest.raises(UserError, match="the model takes the image only; omit the background"):
        next(depthmask.load(models[False], device="cpu").predict_video("clip.mp4", background="median"))


def test_smoothing_at_the_networks_size_changes_nothing_where_all_moves(clip, models):
    """Every frame differs everywhere, so that the smoothed maps are the network's own, enlarged as they are."""
    rng = np.random.default_rng(0)
    images = [np.full((48, 64, 3), level, np.uint8) for level in rng.permutation(np.arange(0, 250, 50))]
    write_clip(Path("blink.mp4"), images)
    model = depthmask.load(models[False], device="cpu")
    plain, smooth = (list(model.predict_video("blink.mp4", smooth_s=seconds)) for seconds in (None, 5.0))
    for one, other in zip(plain, smooth, strict=True):
        assert np.abs(one.prediction.mask - other.prediction.mask).max() < 1e-5
        assert np.abs(one.prediction.depth - other.prediction.depth).max() < 1e-4


ERRORS = {
    "a background of another shape": (
        ["clip.mp4", "--background", "narrow.png"],
        "narrow.png: aspect ratio differs from clip.mp4, 64 x 48 px; take both from the same place with the same camera",
    ),
    "no background": (["clip.mp4"], "clip.mp4: the model also takes the clean background; set --background FILE"),
    "a span beyond the end": (
        ["clip.mp4", "--background-span", "0:07-0:08"],
        "--background-span 0:07.00-0:08.00: clip.mp4 has no frame there; its last one is at 0:00.67",
    ),
    "no span": (["clip.mp4", "--background-span", "soon"], "--background-span: 'soon' is no span of time; write START-END"),
    "two backgrounds": (
        ["clip.mp4", "--background-span", "0-1", "--background", "room.png"],
        "--background-span: the background cannot be given by --background too; remove one of them",
    ),
    "a photo beside": (["clip.mp4", "room.png"], "clip.mp4 and room.png: a clip and a photo; predict them in two calls"),
    "an angle of 0": (
        ["clip.mp4", "--field-of-view-deg", "0"],
        "--field-of-view-deg: is for photos, but a clip is named; remove it",
    ),
    "a point cloud": (["clip.mp4", "--pointcloud", "ply"], "--pointcloud: is for photos, but a clip is named; remove it"),
    "a missing clip": (["none.mp4"], "none.mp4: no such file"),
    "a damaged clip": (["bad.mp4", "--background", "median"], "bad.mp4: damaged, cut off, or no clip in a format that is read"),
    "a missing background": (["clip.mp4", "--background", "none.png"], "--background none.png: no such file"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_mistakes_are_one_line_and_leave_no_result(clip, models, capsys, case):
    arguments, line = ERRORS[case]
    Path("bad.mp4").write_bytes(Path("clip.mp4").read_bytes()[:3000])
    Image.new("RGB", (20, 60)).save("narrow.png")
    assert predict(*arguments, model=models[True]) == 1
    printed = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("note: ")]
    assert len(printed) == 1 and printed[0].startswith(f"error: {line}")
    assert not Path("out").exists() or not [name for name in list_names() if name.endswith((".mp4", ".mov", ".csv"))]


def test_an_image_only_model_rejects_backgrounds_of_every_kind(clip, models, capsys):
    for option in (["--background", "median"], ["--background-span", "0-1"], ["--background", "room.png"]):
        assert predict("clip.mp4", *option, model=models[False]) == 1
        assert "takes the image only; remove --background" in capsys.readouterr().err


def test_sound_that_mp4_cannot_hold_is_left_out_and_that_is_said(clip, models):
    write_clip(Path("pcm.mkv"), draw_walk(5, SIZE)[0], time_base=Fraction(1, 1000), sound_s=0.2, sound_codec="pcm_s16le")
    assert predict("pcm.mkv", "--write", "side_by_side", model=models[False]) == 0
    assert read_json(Path("out/predictions.json"))["clips"][0]["sound"] == "left out: pcm_s16le does not fit into MP4"
    with av.open("out/pcm_side_by_side.mp4") as container:
        assert not container.streams.audio and sum(1 for _ in container.decode(video=0)) == 5


@pytest.mark.parametrize("options", [["--smooth"], ["--background", "median"], ["--background-span", "0-1"], ["--skip-damaged"]])
def test_photos_reject_what_only_clips_have(clip, models, capsys, options):
    assert predict("room.png", *options, model=models[False]) == 1
    what = " ".join(options[: 1 + (options[-1] == "median")])
    line = f"error: {what}: is for clips (.mp4, .m4v, .mov, .mkv, ...), but photos are named; remove it\n"
    assert capsys.readouterr().err == line and not Path("out").exists()


def test_a_result_never_overwrites_a_clip(clip, models, capsys):
    write_clip(Path("clip_mask.mp4"), draw_walk(2)[0])
    before = hash_file(Path("clip_mask.mp4"))
    assert predict("clip.mp4", "clip_mask.mp4", model=models[False], out=".") == 1
    assert "clip_mask.mp4: is an input of this call and would be overwritten" in capsys.readouterr().err
    assert hash_file(Path("clip_mask.mp4")) == before


def test_of_several_clips_one_that_fails_is_a_line_and_the_others_are_predicted(clip, models, capsys):
    Path("bad.mp4").write_text("no clip")
    assert predict("bad.mp4", "clip.mp4", "--write", "mask", model=models[False]) == 1
    printed = capsys.readouterr()
    assert "error: bad.mp4: damaged" in printed.err and "out: 1 clip predicted, 1 not" in printed.out
    index = read_json(Path("out/predictions.json"))
    assert [one["clip"] for one in index["clips"]] == ["clip.mp4"] and index["failed"][0]["clip"] == "bad.mp4"


def test_a_clean_background_beside_the_clip_is_found(clip, models):
    Path("room.png").rename("clip_background.png")
    assert predict("clip.mp4", "--write", "mask", model=models[True]) == 0
    entry = read_json(Path("out/predictions.json"))["clips"][0]
    assert entry["background"] == {"from": "picture", "file": "clip_background.png"}


def test_of_clips_in_a_folder_a_note_says_how_to_predict_them(clip, models, capsys):
    Path("folder").mkdir()
    clip.rename("folder/clip.mp4")
    line = "note: folder: 1 clip is skipped; name clips themselves, such as folder/clip.mp4, or quote a glob"
    assert predict("folder", model=models[False]) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == line and printed[1].startswith("error: folder: no photos found")
    Path("room.png").rename("folder/room.png")
    assert predict("folder", model=models[False]) == 0
    captured = capsys.readouterr()
    assert line in captured.err and captured.out == "out: 1 photo predicted\n"


@pytest.mark.slow
def test_a_killed_process_leaves_no_half_file_and_resumes(clip, models):
    images, _ = draw_walk(60, SIZE)
    write_clip(Path("long.mp4"), images, time_base=Fraction(1, 30000))
    script = "import sys; from depthmask.video import running; running.FRAMES_PER_PART = 5; from depthmask.cli import main; "
    arguments = ["predict", "long.mp4", "--model", str(models[False]), "--out", "out", "--device", "cpu", "--threads", "1"]
    command = [sys.executable, "-c", script + f"sys.exit(main({arguments}))"]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    while not Path("out/.long.parts/000002").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not [name for name in list_names() if name.startswith("long")]
    done = subprocess.run(command, env=environ, stderr=subprocess.PIPE, text=True, check=True)
    assert "long.mp4: resuming after " in done.stderr
    resumed = hash_results()
    assert list_names()[0] != ".long.parts" and len(resumed) == 5
    arguments[5] = "whole"
    subprocess.run([sys.executable, "-c", script + f"sys.exit(main({arguments}))"], env=environ, check=True)
    assert hash_results("whole") == resumed


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_is_finished_is_kept(clip, models, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        images, _ = draw_walk(40, (256, 192), noise=20)
        write_clip(Path("long.mp4"), images)
        assert predict("long.mp4", model=models[False], out=str(disk)) == 1
        printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(printed) == 1 and "disk is full" in printed[0] and str(disk) in printed[0]
        assert not [name for name in list_names(disk) if name.startswith("long")]
        assert read_json(disk / "predictions.json")["failed"][0]["clip"] == "long.mp4"
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        assert predict("long.mp4", model=models[False], out=str(disk)) == 0
        assert len(read_clip(disk / "long_depth.mp4")[0]) == 40
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
