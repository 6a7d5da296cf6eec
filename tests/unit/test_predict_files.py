"""depthmask predict with files, folders and streams that are not what they should be: one line each, the others predicted."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from making_models import make_card, save_small_model
from PIL import Image, ImageOps

from depthmask.base import file_errors, paths
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.cli import main
from depthmask.data.images import measure_picture, read_photo
from depthmask.models.inference import PredictedMaps
from depthmask.registry.networks import NETWORKS
from depthmask.serving import memory, models_of_call, pictures
from depthmask.serving.loading import load, load_members
from depthmask.serving.predictor import Predictor
from depthmask.serving.selection import read_list, select_photos

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
FULL = "the disk is full; free some space and rerun the same command"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "z.png"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    return folder


def predict(model: Path, *arguments: str, out: str = "out") -> int:
    return main(["predict", *arguments, "--model", str(model), "--out", out, "--device", "cpu"])


def list_failures(out: str = "out") -> dict[str, str]:
    index = read_json(Path(out, "predictions.json"))
    assert {Path(entry["photo"]).name for entry in index["photos"]} >= {"a.png", "z.png"}
    return {entry["photo"]: entry["error"] for entry in index["failed"]}


def spoil(kind: str, path: Path) -> None:
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "bomb":
            Image.new("L", (8, 8)).save(path)
            data = bytearray(path.read_bytes())
            data[16:24] = (30000).to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
            path.write_bytes(data)
        case "dot":
            Image.new("L", (1, 1)).save(path)
        case "program":
            path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
        case "cut":
            buffer = io.BytesIO()
            Image.effect_noise((60, 50), 60).save(buffer, "JPEG")
            path.write_bytes(buffer.getvalue()[:900])


@pytest.mark.parametrize(
    ("kind", "words"),
    {
        "pipe": "is a pipe",
        "link": "is a link to itself",
        "device": "is a device",
        "bomb": "more than 100,000,000 pixels; shrink it",
        "dot": "1 x 1 px is not a valid image size; replace or remove it",
        "program": "not a readable image",
        "cut": "damaged image (",
    }.items(),
)
def test_what_is_no_photo_is_a_line_and_the_others_are_predicted(photos, model, capsys, kind, words):
    spoil(kind, photos / "m.png")
    assert predict(model, "photos") == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: photos/m.png: {words}") and printed.count("\n") == 1
    assert list_failures()["photos/m.png"] == printed.removeprefix("error: ").strip()


def test_pipes_and_names_that_are_none_in_a_list_do_not_wait(photos, model, capsys, monkeypatch):
    os.mkfifo(photos / "pipe.png")
    lines = b"photos/a.png\nphotos/pipe.png\n\n\0\nphotos/x\0y.png\n" + b"n" * 5000 + b"\nphotos/caf\xe9.png\nphotos/z.png\n"
    Image.new("RGB", (40, 30)).save(photos / "caf\udce9.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
    assert predict(model, "-") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
    assert list_failures().keys() == {"photos/pipe.png", "\0", "photos/x\0y.png", "n" * 5000}
    names = [entry["photo"] for entry in read_json(Path("out/predictions.json"))["photos"]]
    assert names == ["photos/a.png", r"photos/caf\xe9.png", "photos/z.png"]
    assert Path("out/caf\udce9_mask.png").is_file()


def test_a_list_that_is_none_is_rejected():
    assert list(read_list(io.StringIO("a\nb"))) == ["a\n", "b"]
    with pytest.raises(
        UserError, match="standard input is not a list of photos, one path per line: line 1 has more than 65,536 bytes"
    ):
        list(read_list(open("/dev/zero", encoding="utf-8")))  # noqa: PTH123, SIM115
    with pytest.raises(UserError, match="standard input is closed"):
        list(read_list(None))


def test_links_in_circles_end(photos):
    for name in ("one", "two", "three"):
        (photos / name).symlink_to(".")
    found = select_photos(["photos/**/*.png"], [], Path("out"))
    assert [photo.path.name for photo in found] == ["a.png", "z.png"]
    assert [photo.path.name for photo in select_photos(["photos"], [], Path("out"))] == ["a.png", "z.png"]
    assert [photo.path.as_posix() for photo in select_photos([f"{photos}/*/a.*"], [], Path("out"))] == [f"{photos}/one/a.png"]


PLACES = {
    "file": "--out file: is a file, not a folder; choose another folder",
    "file/below/it": "--out file/below/it: file is a file; choose another folder",
    "/dev/null": "--out /dev/null: is a device, not a folder; choose another folder",
    "loop": "--out loop: is a link to itself, not a folder; choose another folder",
    "n" * 300: f"--out {'n' * 300}: is too long for a file name, not a folder; choose another folder",
    "pipe/x": "--out pipe/x: pipe is a pipe; choose another folder",
    "taken": "taken/predictions.json: is a folder, in the place of predictions.json; move it away, or choose another --out",
}


@pytest.mark.parametrize(("out", "line"), PLACES.items())
def test_a_place_where_no_results_can_go_is_rejected_before_any_work(photos, capsys, out, line):
    Path("file").write_text("mine")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    Path("taken/predictions.json").mkdir(parents=True)
    assert predict(Path("not read"), "photos", out=out) == 1  # the model would be missed next
    assert capsys.readouterr().err == f"error: {line}\n"
    assert Path("file").read_text() == "mine"


def test_a_folder_in_the_place_of_a_result_costs_that_photo_alone(photos, model, capsys):
    Image.new("RGB", (40, 30)).save(photos / "m.png")
    Path("out/m_side_by_side.jpg").mkdir(parents=True)
    Path("out/m_mask.png").write_bytes(b"of an earlier call")
    assert predict(model, "photos") == 1
    failed = list_failures()
    assert failed["photos/m.png"].startswith("out/m_side_by_side.jpg: is a folder, in the place of a result of photos/m.png")
    assert Path("out/m_mask.png").read_bytes() == b"of an earlier call" and not Path("out/m_depth.png").exists()
    assert not list(Path().rglob("*.part"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_ends_the_call_and_predictions_json_says_where(photos, model, capsys, monkeypatch):
    save, calls = pictures.save_depth, []

    def save_until_full(path, *others):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, *others)

    (photos / "sub").mkdir()
    Image.new("RGB", (40, 30)).save(photos / "sub/m.png")
    monkeypatch.setattr(pictures, "save_depth", save_until_full)
    assert predict(model, "photos/a.png", "photos/sub", "photos/z.png", "photos") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: out/m_") and printed.endswith(f": {FULL}\n") and printed.count("\n") == 1
    index = read_json(Path("out/predictions.json"))
    assert [entry["photo"] for entry in index["photos"]] == ["photos/a.png"]
    assert len(index["failed"]) == 2 and index["failed"][1]["error"].startswith("not tried: ")
    files = sorted(path.name for path in Path("out").rglob("*"))
    assert files == ["a_depth.png", "a_mask.png", "a_side_by_side.jpg", "predictions.json"]


def test_a_disk_that_is_full_from_the_start_leaves_no_empty_folder(photos, model, capsys, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/deep/predictions.json")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert predict(model, "photos", out="out/deep") == 1
    assert FULL in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_photo_that_goes_away_and_one_that_is_too_much_for_memory(photos, model, capsys, monkeypatch):
    def shrink(self, image, background=None):
        (photos / "z.png").unlink(missing_ok=True)
        raise MemoryError

    monkeypatch.setattr(Predictor, "shrink", shrink)
    assert predict(model, "photos") == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "error: photos/a.png: not enough memory; make the photo smaller",
        "error: photos/z.png: no such file",
    ]
    assert len(read_json(Path("out/predictions.json"))["failed"]) == 2


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError()])
def test_a_photo_that_the_network_cannot_take_costs_none_of_its_batch(photos, model, capsys, monkeypatch, error):
    Image.new("RGB", (40, 30), "blue").save(photos / "m.png")

    def run(self, image, background):
        if (image[:, 2] > 0.5).any():  # the blue one
            raise error
        return PredictedMaps(image[:, :1], image[:, :1])

    def load_with_run(*arguments, **options):
        (predictor,) = load_members(*arguments, **options)
        predictor._run = run.__get__(predictor)
        return [predictor]

    monkeypatch.setattr("depthmask.serving.models_of_call.load_members", load_with_run)
    assert predict(model, "photos") == 1
    assert list_failures().keys() == {"photos/m.png"}
    assert capsys.readouterr().err.startswith("error: photos/m.png: not enough memory for a photo; lower size_px, ")


def test_a_fault_of_the_program_still_leaves_what_was_predicted(photos, model, monkeypatch):
    save = pictures.save_mask

    def save_mask(path, *others):
        if path.name.startswith(".z"):
            raise ZeroDivisionError
        save(path, *others)

    monkeypatch.setattr(pictures, "save_mask", save_mask)
    with pytest.raises(ZeroDivisionError):
        predict(model, "photos")
    assert [entry["photo"] for entry in read_json(Path("out/predictions.json"))["photos"]] == ["photos/a.png"]


@pytest.mark.parametrize("size", [(2, 20000), (20000, 2), (2, 2)])
def test_thin_photos_are_predicted(photos, model, size):
    Image.new("RGB", size, "red").save(photos / "thin.png")
    assert predict(model, "photos/thin.png") == 0
    for name in ("thin_mask.png", "thin_depth.png"):
        with Image.open(Path("out", name)) as picture:
            assert picture.size == size
    with Image.open("out/thin_side_by_side.jpg") as picture:
        assert max(picture.size) <= 4 * 700


def test_sizes_that_no_memory_can_hold_are_rejected_before_any_work(photos, model, capsys, monkeypatch):
    monkeypatch.setattr(memory, "find_free_bytes", lambda: 4e9)
    assert predict(model, "photos", "--size-px", "16384") == 1
    printed = capsys.readouterr().err
    assert (
        printed.startswith("error: at 16384 px the network would need about ")
        and "but only 4.0 GB are free; lower size_px" in printed
    )
    assert not Path("out").exists()
    predictor = load(model, device="cpu", size_px=512)
    assert 1 <= predictor.batch_max == int(2e9 / (memory.measure_bytes_per_pixel(make_card()) * 512**2))


def test_a_size_that_takes_long_is_said_beforehand(photos, model, capsys, monkeypatch):
    assert predict(model, "photos", "--size-px", "64") == 0
    assert "takes about" not in capsys.readouterr().err
    monkeypatch.setattr(models_of_call, "SECONDS_WITHOUT_NOTE", 0.0)
    assert predict(model, "photos", "--size-px", "64", "--mask-size-px", "96") == 0
    printed = "note: at 96 px a photo takes about 1 s; a smaller --size-px or --mask-size-px is faster\n"
    assert capsys.readouterr().err.startswith(printed)


def test_the_estimate_of_memory_is_above_the_maps_that_a_network_must_hold():
    for name, spec in NETWORKS.items():
        if name != "smp_unet":  # its package is not always there
            card = make_card(name=name, background_input=spec.needs_background)
            assert 64 < memory.measure_bytes_per_pixel(card) < 10_000, name
    wide, narrow = (memory.measure_bytes_per_pixel(make_card(width=width)) for width in (64, 16))
    assert 2 < wide / narrow < 4.5
    assert 1e8 < memory.find_free_bytes() < 1e14


@pytest.mark.parametrize(
    "options",
    [{"device": "tpu"}, {"size_px": 10**9}, {"size_px": "64"}, {"mask_size_px": 0}, {"size_px": True}],
)
def test_options_from_python_have_the_same_bounds(model, options):
    with pytest.raises(UserError, match=r"allowed: (auto|a whole number from 1 to )"):
        load(model, **({"device": "cpu"} | options))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "TGA"])
def test_bytes_changed_anywhere_are_read_or_rejected_in_a_line(tmp_path, form):
    buffer, rng = io.BytesIO(), random.Random(form)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((24, 16), 60).convert("RGB").save(
        buffer, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {})
    )
    whole, path, num_read = buffer.getvalue(), tmp_path / "changed", 0
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4, 30))):
            data[int(rng.random() ** 3 * len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        size = measure_picture(path)
        try:
            picture = read_photo(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            num_read += 1
            assert picture.dtype == np.uint8 and picture.ndim == 3
            assert size is None or size == picture.shape[1::-1]
    assert num_read > 0 or form == "PNG"  # in which every part has a checksum


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 4711])
def test_orientations_are_those_of_pillow_and_nonsense_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(read_photo(tmp_path / "a.png"), np.asarray(ImageOps.exif_transpose(picture)))


COMMANDS = {
    "export": ["export", "--model", "{model}", "--out", "folder.safetensors"],
    "export, its card": ["export", "--model", "{model}", "--out", "card.safetensors"],
    "export, below a file": ["export", "--model", "{model}", "--out", "file/m.safetensors"],
    "export, a long name": ["export", "--model", "{model}", "--out", "n" * 300 + ".safetensors"],
    "export of a pipe": ["export", "--model", "pipe", "--out", "m.safetensors"],
    "export of an ONNX file": ["export", "--model", "m.onnx", "--out", "m.safetensors"],
    "card of a folder": ["card", "photos"],
    "card of a pipe": ["card", "pipe"],
    "card of a program": ["card", "m.pt2"],
    "scores of nothing": ["scores", "--reports", "nowhere"],
    "scores of a file": ["scores", "--reports", "file"],
    "scores of a folder": ["scores", "--reports", "taken"],
    "report of a file": ["report", "--reports", "file", "--params", str(WORKFLOW.parent / "params.yaml")],
    "show into a folder": ["show", "--out", "folder.png", "--raw", "nowhere"],
    "show of a file": ["show", "--out", "sheet.png", "--raw", "file", "--source"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_commands_with_paths_that_cannot_be_are_one_line(photos, model, capsys, arguments):
    for name in ("folder.safetensors", "card.md", "folder.png", "taken/metrics.json"):
        Path(name).mkdir(parents=True)
    Path("file").write_text("no folder")
    Path("m.onnx").write_bytes(b"\x08\x0a")
    Path("m.pt2").write_bytes(b"PK\x03\x04")
    os.mkfifo("pipe")
    assert main([argument.format(model=model) for argument in arguments]) in (1, 2)
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") <= 2
    assert not list(Path().rglob("*.part"))


def test_files_for_others_are_distinguished_from_model_files(photos, capsys):
    for name, tool in (("m.onnx", "onnxruntime"), ("m.pt2", "torch.export")):
        Path(name).write_bytes(b"PK\x03\x04" if name == "m.pt2" else b"\x08\x0a")
        assert predict(Path(name), "photos") == 1
        assert capsys.readouterr().err == (
            f"error: {name}: a file for {tool}, which depthmask cannot load; use the .safetensors file that it was exported"
            " from\n"
        )


def test_closed_streams_take_no_file_s_place(photos, model):
    """With standard output closed, the first file that is opened would become it."""
    command = f"{sys.executable} -m depthmask predict photos/none.png photos/a.png --out out --device cpu --model {model}"
    environment = os.environ | {"PYTHONPATH": str(WORKFLOW)}
    done = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], env=environment, check=False, timeout=300)
    assert done.returncode == 1
    index = json.loads(Path("out/predictions.json").read_text())
    assert [entry["photo"] for entry in index["photos"]] == ["photos/a.png"]
    with Image.open("out/a_mask.png") as picture:
        assert picture.size == (40, 30)


def test_paths_are_shown_as_text_that_can_be_written():
    assert paths.show_path("caf\udce9 ä") == r"caf\xe9 ä"
    assert file_errors.explain_os_error(OSError(errno.EIO, "Input/output error")) is None
    assert file_errors.explain_os_error(OSError(errno.EISDIR, "Is a directory", "x")) == "x: is a folder, not a file"
