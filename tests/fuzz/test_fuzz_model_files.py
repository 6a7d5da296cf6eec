"""Model files with one change each, sealed again with the right sha256: refused in a line, or used and right.

A case is a file and a way to use it: load, predict, card or export. What is accepted must predict masks of 0 to 1 and depths of
0 to the card's maximum, and nothing that is printed or written may have a control character.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import Outcome, Tally, count_cases, run_in_process
from PIL import Image

import depthmask
from depthmask.cli import main
from depthmask.models.model_file import HEADER_KEY, DepthMaskModel, ModelCard, hash_model, save_model
from depthmask.params import NetworkParams

pytestmark = pytest.mark.slow

SHORT, SIDE = 300, 32
SECONDS = 60  # of a case on a machine that others use too; each takes a tenth of one
RELEASE = {
    "depthmask": "0.1.0",
    "data": {"data/demo": "0123456789abcdef"},
    "params": {"pretrain": {"epochs": 3}, "download": {"source": "demo"}, "compose": {"field_of_view_deg": 60.0}},
    "runs": [
        {
            "stage": "pretrain",
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 61.5,
            "commit": "abc",
            "dirty": False,
            "hardware": {},
        }
    ],
    "versions": {"torch": "2.13.0"},
    "scores": {"num_images": 4, "mask": {"iou": 0.5, "dice": None}, "depth": {"delta1": 0.5, "rmse": 1.0}},
    "baselines": {"mask_all": {"iou": 0.1}},
    "model_card": "# A card\n",
}
# what stands in the place of any value of the card
VALUES = (None, True, False, 0, -1, 1, 2, 10**9, 10**30, 0.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), "", "64")
VALUES += ("\x1b[31mred\x07", "\ud800", "\u202e", "../../x", "| `x` |\n<script>alert(1)</script>", "x" * 3_000_000)
VALUES += ([], [0, 0, 0], [0.5] * 4, ["a"], {}, {"a": 1}, [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]])


@dataclass
class File:
    """A model file taken apart: its card, its tensors, and what is done to the bytes last of all."""

    card: dict
    tensors: dict[str, torch.Tensor]
    spoil: Callable[[bytes], bytes] = bytes
    header: Callable[[dict], str] = json.dumps


def list_paths(value: object, at: tuple = ()) -> Iterator[tuple]:
    """The places of all values in nested mappings and lists."""
    if at:
        yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in entries:
        yield from list_paths(below, (*at, key))


def put(card: dict, at: tuple, value: object) -> None:
    for key in at[:-1]:
        card = card[key]
    card[at[-1]] = value


def change_card(file: File, rng: random.Random) -> None:
    put(file.card, rng.choice(list(list_paths(file.card))), copy.deepcopy(rng.choice(VALUES)))


def change_deviations(file: File, rng: random.Random) -> None:
    name = rng.choice(("image_mean", "image_std"))
    file.card[name] = [rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e-40, 0.5, 1e30)) for _ in range(3)]


def change_keys(file: File, rng: random.Random) -> None:
    at = rng.choice([at for at in list_paths(file.card) if isinstance(at[-1], str)])
    place = file.card
    for key in at[:-1]:
        place = place[key]
    value = place.pop(at[-1])
    if rng.random() < 0.5:
        place[rng.choice(("more", "", "\x1b]0;title\x07", at[-1].upper()))] = value


def change_network(file: File, rng: random.Random) -> None:
    changes = (
        {"width": 256},
        {"width": 12},
        {"width": 10**9},
        {"name": "branched_unet"},
        {"name": "dilated_small"},
        {"name": "../x"},
    )
    file.card["settings"].update(rng.choice(changes))


def change_tensors(file: File, rng: random.Random) -> None:
    name = rng.choice(sorted(file.tensors))
    tensor = file.tensors[name]
    kind = rng.randrange(7)
    if kind == 0:
        del file.tensors[name]
    elif kind == 1:
        file.tensors[rng.choice(("more", "\x1b[2J", "network"))] = torch.zeros(3)
    elif kind == 2:
        file.tensors[name] = tensor.reshape(-1)[: rng.randrange(1 + tensor.numel())]
    elif kind == 3:
        types = (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn)
        file.tensors[name] = tensor.to(rng.choice(types))
    elif kind == 4:
        file.tensors[name] = tensor[None]
    else:
        file.tensors[name] = tensor.clone()
        if tensor.numel() and tensor.is_floating_point():
            values = (float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e-42, -1.0)
            file.tensors[name].view(-1)[rng.randrange(tensor.numel())] = rng.choice(values)


def change_header(file: File, rng: random.Random) -> None:
    def nest(_: dict) -> str:
        return "[" * 100_000

    def repeat(card: dict) -> str:
        return json.dumps(card)[:-1] + ', "epochs": 9}'

    file.header = rng.choice((nest, repeat, lambda card: json.dumps([card]), lambda card: json.dumps(card)[:-1], lambda card: ""))


def change_bytes(file: File, rng: random.Random) -> None:
    """Of the container: the header's length, a byte of it, offsets, what stands around it."""
    place, byte = rng.random(), rng.randrange(256)

    def flip(data: bytes) -> bytes:
        number = int(place * (8 + int.from_bytes(data[:8], "little")))
        return data[:number] + bytes([byte]) + data[number + 1 :]

    lengths = [0, 1, 7, 1 << 20, 1 << 31, (1 << 64) - 1]
    length = rng.choice(lengths)
    file.spoil = rng.choice(
        (
            flip,
            lambda data: struct.pack("<Q", length) + data[8:],
            lambda data: data[: int(place * len(data))],
            lambda data: data + b"more",
            lambda data: data.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1),
            lambda data: data[:8] + b"\xff\xfe" + data[10:],
            lambda data: data.replace(b'"F32"', b'"F99"', 1),
            lambda data: data.replace(b'"shape":[', b'"shape":[99999999999,', 1),
        )
    )


CHANGES = (change_card, change_card, change_card, change_deviations, change_keys, change_network, change_tensors, change_tensors,
           change_header, change_bytes)  # fmt: skip
USES = ("predict",) * 8 + ("card",) * 4 + ("export",) * 4 + ("load",) * 4 + ("onnx",)


def write(file: File, path: Path) -> None:
    """In safetensors' own format, written by hand: the library would refuse some of this."""
    tensors = {name: tensor.contiguous() for name, tensor in file.tensors.items()}
    sealed = file.header(file.card | {"sha256": hash_model(file.card, tensors)})
    header, parts, at = {"__metadata__": {HEADER_KEY: sealed}}, [], 0
    names = {torch.float32: "F32", torch.int64: "I64", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
             torch.int8: "I8", torch.bool: "BOOL", torch.complex64: "C64", torch.float8_e4m3fn: "F8_E4M3"}  # fmt: skip
    for name, tensor in sorted(tensors.items(), key=lambda pair: (-pair[1].element_size(), pair[0])):
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(file.spoil(struct.pack("<Q", len(text)) + text + b"".join(parts)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> File:
    torch.manual_seed(0)
    settings = NetworkParams(
        encoder="efficientnet_lite0", name="compact", width=4, dropout=0.0, background_input=False
    ).model_dump()
    card = ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", 8.0, 3, SIDE)
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    save_model(DepthMaskModel(card), path, release=RELEASE)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()[HEADER_KEY])
        values.pop("sha256")
        return File(values, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def use(path: Path, kind: str) -> tuple[Outcome, str]:
    """How a use of the file ends, and what it printed on standard output."""
    printed = io.StringIO()

    def load(_: object) -> int:
        """As a program of somebody's would."""
        from depthmask.base.errors import UserError

        try:
            prediction = depthmask.load(path, device="cpu").predict(np.zeros((20, 30, 3), np.uint8))
        except UserError as error:
            assert "\n" not in str(error)
            return main(["predict", "none.png", "--out", "out", "--model", str(path)])  # the same, said by the command
        check_maps(prediction.mask, prediction.depth / prediction.depth_max)
        return 0

    arguments = {
        "predict": ["predict", "photo.png", "--out", "out", "--model", str(path), "--device", "cpu"],
        "card": ["card", str(path)],
        "export": ["export", "--model", str(path), "--out", "exported.safetensors"],
        "onnx": ["export", "--model", str(path), "--out", "exported.onnx"],
        "load": [],
    }[kind]

    def run(given: list[str]) -> int:
        with contextlib.redirect_stdout(printed):
            return (load if kind == "load" else main)(given)

    return run_in_process(run, arguments, SECONDS), printed.getvalue()


def check_maps(mask: np.ndarray, depth: np.ndarray) -> None:
    for values in (mask, depth):
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6


def check_right(kind: str, printed: str) -> None:
    """What a use that ended well has left."""
    assert not any(ord(character) < 32 and character not in "\n\t" for character in printed), repr(printed[:300])
    if kind == "predict":
        index = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
        assert [entry["photo"] for entry in index["photos"]] == ["photo.png"]
        assert 0 < index["depth"]["max"] < float("inf")
        files = index["photos"][0]["files"]
        assert np.asarray(Image.open(files["mask"])).shape == np.asarray(Image.open(files["depth"])).shape == (20, 30)
    elif kind == "card":
        assert printed.startswith("# ") or "A card" in printed or printed.strip()
    elif kind == "export":
        text = Path("exported.md").read_text(encoding="utf-8")
        assert text.startswith("# Model card: ") and "<script" not in text.partition("\nParams:\n")[0]
        depthmask.load("exported.safetensors", device="cpu")
    elif kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("exported.onnx", providers=["CPUExecutionProvider"])
        mask, depth = session.run(None, {"image": np.zeros((1, 3, 64, 64), np.float32)})
        assert np.isfinite(mask).all() and np.isfinite(depth).all()


def test_changed_model_files_are_rejected_in_a_line_or_right(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((30, 20), 64).convert("RGB").save("photo.png")
    tally, path = Tally(), tmp_path / "changed.safetensors"
    write(whole, path)
    uses = [kind for kind in USES if kind != "onnx" or find_spec("onnxscript")]
    for kind in sorted(set(uses) - {"onnx"}):
        outcome, printed = use(path, kind)
        assert outcome.kind == "ran", outcome.text
        check_right(kind, printed)
    for case in range(count_cases(SHORT)):
        rng = random.Random(case)
        file = File(copy.deepcopy(whole.card), dict(whole.tensors))
        change, kind = rng.choice(CHANGES), rng.choice(uses)
        change(file, rng)
        try:
            write(file, path)
        except (ValueError, TypeError):  # a number that no JSON writer of Python's writes
            raise AssertionError(f"case {case} cannot be written") from None
        outcome, printed = use(path, kind)
        if outcome.kind == "ran":
            try:
                check_right(kind, printed)
            except Exception as error:
                outcome = Outcome("traceback", f"accepted, but wrong: {error!r}")
        elif any(ord(character) < 32 and character != "\n" for character in outcome.text):
            outcome = Outcome("traceback", f"a control character is printed: {outcome.text!r}")
        tally.add(f"case {case}, {change.__name__}, {kind}", outcome)
    tally.check("model files")
    assert min(tally.counts["ran"], tally.counts["refused"]) > 0
