"""`depthmask predict` with files and arguments of all kinds: each refused in a line, and what can be predicted is predicted.

A case puts some of the files of `FILES` into a folder, draws arguments, a place for the results and what comes on standard input,
and runs the command in the case's own folder. Whatever it ends with: no traceback, no hang, no temporary file; and once photos
were tried, predictions.json names each of them as predicted, with all its files whole, or as failed with the reason.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import Outcome, Tally, count_cases, run_in_process
from PIL import Image, PngImagePlugin

from depthmask.base.paths import find_fault_of_file
from depthmask.cli import main
from depthmask.models.model_file import DepthMaskModel, ModelCard, save_model
from depthmask.params import NetworkParams
from depthmask.serving import memory

SHORT, SIDE = 40, 32
SECONDS = 30
LONG = "n" * 240


def draw(path: str | bytes, size: tuple[int, int] = (40, 30), mode: str = "RGB", form: str = "PNG", **options) -> None:
    with open(path, "wb") as out:  # noqa: PTH123 (names of bytes)
        Image.new(mode, size).save(out, form, **options)


def draw_16_bit(path: str) -> None:
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(path, "PNG")


def draw_with_exif(path: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(path, form="JPEG", exif=exif.tobytes()[:-3] + b"\xff\xff\xff")


def draw_turned_by_nonsense(path: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 4711
    draw(path, form="JPEG", exif=exif)


def cut(path: str, share: float = 0.5) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((60, 50), 60).save(buffer, "JPEG")
    Path(path).write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])


def spoil(path: str, form: str, seed: int) -> None:
    buffer, rng = io.BytesIO(), random.Random(seed)
    Image.effect_noise((40, 30), 60).save(buffer, form)
    data = bytearray(buffer.getvalue())
    for _ in range(12):
        data[rng.randrange(len(data))] = rng.randrange(256)
    Path(path).write_bytes(data)


def write_bomb(path: str) -> None:
    """A header that says 30000 x 30000 px."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    import zlib

    data[16:24] = (30000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    Path(path).write_bytes(data)


def write_chunk_bomb(path: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 10_000_000, zip=True)
    draw(path, pnginfo=text)


def bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n"
FILES: dict[str, Callable[[str], object]] = {
    "good.png": draw,
    "good2.jpg": lambda path: draw(path, (30, 40), form="JPEG"),
    "thin.png": lambda path: draw(path, (2, 20000)),
    "wide.png": lambda path: draw(path, (20000, 2)),
    "dot.png": lambda path: draw(path, (1, 1)),
    "bomb.png": write_bomb,
    "text.png": write_chunk_bomb,
    "cmyk.jpg": lambda path: draw(path, mode="CMYK", form="JPEG"),
    "palette.gif": lambda path: draw(path, mode="P", form="GIF"),
    "alpha.webp": lambda path: draw(path, mode="RGBA", form="WEBP"),
    "grey16.png": draw_16_bit,
    "float.tiff": lambda path: draw(path, mode="F", form="TIFF"),
    "one_bit.png": lambda path: draw(path, mode="1"),
    "cut.jpg": cut,
    "cut2.jpg": lambda path: cut(path, 0.02),
    "empty.jpg": lambda path: Path(path).touch(),
    "noise.jpg": lambda path: Path(path).write_bytes(random.Random(1).randbytes(3000)),
    "eps.jpg": lambda path: Path(path).write_text(EPS),
    "exif.jpg": draw_with_exif,
    "turned.jpg": draw_turned_by_nonsense,
    **{f"spoilt{n}.{form.lower()}": (lambda path, form=form, n=n: spoil(path, form, n)) for n, form in enumerate(
        ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PNG", "TIFF"))},
    "fifo.png": os.mkfifo,
    "socket.jpg": bind,
    "null.png": lambda path: Path(path).symlink_to("/dev/null"),
    "zero.png": lambda path: Path(path).symlink_to("/dev/zero"),
    "loop.png": lambda path: Path(path).symlink_to(Path(path).name),
    "nowhere.png": lambda path: Path(path).symlink_to("nothing"),
    "folder.png": os.mkdir,
    "circle": lambda path: Path(path).symlink_to("."),
    "circle2": lambda path: Path(path).symlink_to(".."),
    "caf\udce9.png": draw,
    "esc\x1b[31m\n.png": draw,
    f"{LONG}.png": draw,
    "good_background.png": draw,
}  # fmt: skip
PLACES = (
    "out",
    "out",
    "out",
    "out/deep/er",
    "file",
    "file/below",
    "/dev/null",
    "/dev/null/x",
    "loop",
    "o" * 300,
    "photos",
    "fifo",
)
PLACES += ("taken", "/proc/none", "out\x1b[2J", "caf\udce9")
ARGUMENTS = (
    ["photos"],
    ["photos"],
    ["photos/*"],
    ["photos/**/*.png"],
    ["-"],
    ["none.png"],
    ["photos/good.png", "x" * 300],
    ["nul\0.png"],
    ["fifo", "photos/good.png"],
)
LISTED = (b"photos", b"photos/good.png", b"", b"\0", b"photos/caf\xe9.png", b"x\0y", b"photos/fifo.png", b"x" * 5000, b"\xff\xfe")
LISTED += (b"photos/none.png", b"x" * 100_000)
OPTIONS = ("", "", "", "--cutout", "--hard", "--size-px 16384", "--mask-size-px 16384", "--size-px 64", "--size-px 1")
OPTIONS += ("--batch-size 16384", "--threads 100000", "--threads 2", "--size-px 1e9", "--background fifo")
OPTIONS += ("--background photos", "--background photos/good.png", "--background none.png", "--background photos/cut.jpg")
OPTIONS += ("--device cuda",)
MODELS = ("alone", "alone", "alone", "both", "none", "photos", "fifo", "file", "/dev/zero", "m.pt2", "loop")


DRAWN = {"arguments": ARGUMENTS, "place": PLACES, "options": OPTIONS, "model": MODELS}
USUAL = {"files": None, "arguments": ["photos"], "place": "out", "options": "", "model": "alone"}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("alone", "both"):
        torch.manual_seed(0)
        settings = NetworkParams(
            encoder="efficientnet_lite0", name="compact", width=4, dropout=0.0, background_input=name == "both"
        ).model_dump()
        save_model(DepthMaskModel(ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", 8.0, 3, SIDE)), folder / name)
    return folder


class Lines(io.TextIOWrapper):
    """Standard input, as Python opens it."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data), encoding="utf-8")


def prepare(folder: Path, rng: random.Random, most: int) -> None:
    """The case's folder, which becomes the working folder: photos/ with `most` of FILES, and things in the way of results."""
    (folder / "photos" / "sub").mkdir(parents=True)
    os.chdir(folder)
    for name in rng.sample(sorted(FILES), rng.randint(min(most, 1), most)):
        FILES[name](f"photos/{rng.choice(('', '', 'sub/'))}{name}")
    draw("photos/good.png")
    Path("file").write_text("no folder")
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    Path("m.pt2").write_bytes(b"PK\x03\x04")
    Path("taken/good_mask.png").mkdir(parents=True)
    Path("taken/sub").write_text("no folder")
    if rng.random() < 0.1:
        Path("taken/predictions.json").mkdir()


def check_results(place: str, code_is_0: bool) -> None:
    """predictions.json and the disk agree, and nothing is half-written."""
    parts = list(Path().rglob("*.part"))
    assert not parts, f"left behind: {parts}"
    index = Path(place, "predictions.json")
    if find_fault_of_file(index) is not None:
        assert not code_is_0, "predicted, and nothing tells of it"
        assert not Path("out").exists(), "an empty folder is left"
        return
    output = json.loads(index.read_text(encoding="utf-8"))
    assert bool(output["failed"]) != code_is_0
    for entry in output["failed"]:
        assert entry["error"] and "\n" not in entry["error"].replace("esc\x1b[31m\n", "")
    for entry in output["photos"]:
        for kind, name in entry["files"].items():
            if "\\x" not in name:
                with Image.open(name) as picture:
                    picture.load()
                    assert kind == "side_by_side" or list(picture.size) == entry["size_px"]


@pytest.mark.slow
def test_predict_rejects_in_a_line_or_predicts(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 4e9)  # or a larger machine would take minutes for 16384 px
    tally = Tally()
    for case in range(count_cases(SHORT)):
        rng, folder = random.Random(case), tmp_path / str(case)
        # one thing at a time, or the first mistake would hide all others; or all at once
        aims = rng.choice((["files"], ["files"], ["arguments"], ["place"], ["options"], ["model"], list(USUAL)))
        prepare(folder, rng, most=9 if "files" in aims else 0)
        drawn = {name: rng.choice(DRAWN[name]) if name in aims else usual for name, usual in USUAL.items() if name != "files"}
        arguments, place, options, model = (drawn[name] for name in ("arguments", "place", "options", "model"))
        listed = b"\n".join(rng.sample(LISTED, rng.randint(1, 5)))
        model = str(models / model) if model in ("alone", "both") else model
        command = [
            "predict",
            *arguments,
            "--out",
            place,
            "--model",
            model,
            *(["--device", "cpu"] if "--device" not in options else []),
        ]
        monkeypatch.setattr(sys, "stdin", Lines(listed))
        outcome = run_in_process(main, [*command, *options.split()], SECONDS)
        lines = [line for line in outcome.text.splitlines() if not line.startswith(("note: ", "warning: ", "usage: ", " "))]
        if outcome.kind == "traceback" and "Traceback" not in outcome.text and all("error: " in line[:30] for line in lines):
            outcome = Outcome("refused", outcome.text)  # a line for each photo
        if outcome.kind in ("ran", "refused"):
            try:
                check_results(place, outcome.kind == "ran")
                assert "\x1b" not in outcome.text, "an escape is printed"
            except (AssertionError, OSError, ValueError) as error:
                outcome = Outcome("traceback", f"{error!r}\n{outcome.text}")
        tally.add(f"case {case}: {command[1:]} {options} {listed[:80]!r}", outcome)
        os.chdir(tmp_path)
        shutil.rmtree(folder)
    tally.check("predict")
    assert min(tally.counts["ran"], tally.counts["refused"]) > 0
