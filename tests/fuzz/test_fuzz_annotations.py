"""`depthmask cutouts` with spoilt annotations and nonsense options: refused in one line, or read with the faults counted."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import Tally, count_cases, run_in_process
from making_annotations import make_coco, make_cvat, make_photos, save_photos, write_labelme

from depthmask.cli import main
from depthmask.cutouts.formats import FORMATS

SHORT, SECONDS = 60, 20
JUNK = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "x",
    "",
    [],
    {},
    [[]],
    "\0\u202e\ud800",
    {"size": [1, 1], "counts": "~"},
    [["a"]],
    [[0] * 7],
)
NUMBERS = ("0", "-1", "nan", "inf", "1e400", "x", "", "9" * 5000, "²", "1.5")
OPTIONS = ("--min-side", "--min-area", "--feather", "--field-of-view-deg", "--focal-px", "--camera-pitch-deg", "--num-pictures")
OPTIONS += (
    "--workers",
    "--frame-margin",
    "--score-min",
    "--instance-divisor",
    "--depth-format",
    "--group",
    "--kinds",
    "--device",
)
OPTIONS += ("--palette", "--annotations", "--images", "--out", "--segmenter", "--backgrounds-from", "--depth", "--licence")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("fuzz")
    save_photos(root / "images", make_photos(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # results of nonsense such as --out 0 stay here
        yield root


def spoil_values(rng: random.Random, data: Any) -> Any:
    """One to three values of a JSON file, at any depth, replaced by junk."""
    for _ in range(rng.randint(1, 3)):
        parent, key, node = None, None, data
        while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.8):
            parent, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = parent[key]
        if parent is not None:
            parent[key] = rng.choice(JUNK)
    return data


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
    return bytes(spoilt[: rng.choice((len(spoilt), len(spoilt), rng.randrange(len(spoilt))))])


def test_spoilt_annotations(folder):
    tally = Tally()
    coco, cvat = make_coco(make_photos(3)), make_cvat(make_photos(3)).encode()
    labelme = write_labelme(folder / "labelme", make_photos(2)) / "000001.json"
    entry = json.loads(labelme.read_text())
    for case in range(count_cases(SHORT)):
        rng = random.Random(case)
        annotations = folder / "annotations"
        name = ("coco", "cvat", "labelme", "coco", "labels")[case % 5]
        options: tuple[str, ...] = ()
        if name == "coco":
            data = json.dumps(spoil_values(rng, json.loads(json.dumps(coco)))).encode()
            annotations.write_bytes(spoil_bytes(rng, data) if rng.random() < 0.3 else data)
        elif name == "cvat":
            annotations.write_bytes(spoil_bytes(rng, cvat))
        elif name == "labelme":
            labelme.write_text(json.dumps(spoil_values(rng, json.loads(json.dumps(entry)))))
            annotations = folder / "labelme"
        else:
            (folder / "palette.csv").write_bytes(spoil_bytes(rng, b"value,name\n1,person\n#ff0000,dog\n0,0,160,ball\n"))
            annotations, options = folder / "images", ("--palette", str(folder / "palette.csv"))
        shutil.rmtree(folder / "out", ignore_errors=True)
        arguments = ["cutouts", name, "--annotations", str(annotations), "--images", str(folder / "images"), *options]
        tally.add(case, run_in_process(main, [*arguments, "--out", str(folder / "out"), "--workers", "1"], SECONDS))
    tally.check("spoilt annotations")


def test_nonsense_options(folder):
    tally = Tally()
    (folder / "instances.json").write_text(json.dumps(make_coco(make_photos(3))))
    (folder / "file").write_bytes(b"\xff\0")
    places = [str(folder / name) for name in ("images", "file", "missing", "file/below", "instances.json")] + [
        "",
        "\0",
        "\udcff",
        "/dev/null",
    ]
    for case in range(count_cases(SHORT)):
        rng = random.Random(case)
        shutil.rmtree(folder / "out", ignore_errors=True)
        given = [
            "--annotations",
            str(folder / "instances.json"),
            "--images",
            str(folder / "images"),
            "--out",
            str(folder / "out"),
        ]
        for option in rng.sample(OPTIONS, rng.randint(1, 2)):
            given += [option, rng.choice((*places, *NUMBERS, "(", "{}", "[1", "{unit: metre}"))]
        name = rng.choice(("coco", "coco", *FORMATS))
        tally.add((case, name, given), run_in_process(main, ["cutouts", name, *given], SECONDS))
    tally.check("nonsense options")
