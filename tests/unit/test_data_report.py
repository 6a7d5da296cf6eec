"""`depthmask check --data`: what is in the data that params.yaml names, before any run."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from making_layouts import make_composites, write_flat_numbered
from PIL import Image

from depthmask.commands.check import main, make_parser, report_data
from depthmask.data_report.looking import look_at_data
from depthmask.data_report.opening import list_declared, open_data
from depthmask.data_report.painting import paint_overlay
from depthmask.data_report.text import format_report

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def write_params(tmp_path):
    """Writes the project's params.yaml with other keys of `download`."""

    def write(depth: dict | None = None, **download) -> str:
        params = yaml.safe_load((PROJECT / "params.yaml").read_text())
        params["download"] |= download
        params["download"]["depth"] |= depth or {}
        params["model"]["background_input"] = False
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return str(tmp_path / "params.yaml")

    return write


@pytest.fixture
def composites(tmp_path) -> tuple[Path, dict]:
    """Twelve composites in the layout flat_numbered, and their keys of `download`."""
    changes, _ = write_flat_numbered(tmp_path / "set", make_composites(2, 3, 2))
    return tmp_path / "set", changes


def list_files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_it_reports_kinds_sizes_and_metres_of_a_folder_in_place(tmp_path, small_demo, write_params, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "ensemble"):
        (tmp_path / "data" / name).mkdir(parents=True)
    params = write_params(path=str(small_demo))
    before = list_files(tmp_path), list_files(small_demo)
    assert main(["--data", "--params", params]) == 0
    printed = capsys.readouterr().out
    for line in (
        f"{small_demo}: demo",
        "backgrounds: 12",
        "size          224 x 224 px",
        "camera known  for 12",
        "type     16 bits: 12",
        "unknown  0.0% of the pixels",
        "cut-outs: 12",
        "trimmed     0 had empty canvas around the subject",
        "left out: nothing",
        "files that are not read: none",
        "findings: none",
    ):
        assert line in printed
    raw = np.concatenate([np.asarray(Image.open(path)).ravel() for path in (small_demo / "bg_depth").iterdir()])
    assert f"values   {raw.min()} to {raw.max()}; 20000 stands for 20 m" in printed
    assert f"half are below {np.quantile(raw / 1000, 0.5, method='inverted_cdf'):.3g} m" in printed
    shares = [float(share) for share in re.findall(r"^ +[\d.]+ (?:to|or) .*?([\d.]+)%$", printed, re.MULTILINE)]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert (list_files(tmp_path), list_files(small_demo)) == before


def test_bars_are_the_shares_of_depth_in_metres(small_demo, params):
    download = params.download.model_copy(update={"path": str(small_demo)})
    with open_data(download, Path("nowhere")) as (source, where, _):
        report = look_at_data(source, where)
    depth = next(kind for kind in report.kinds if kind.name == "depth maps")
    metres = np.concatenate([np.asarray(Image.open(path)).ravel() / 1000 for path in (small_demo / "bg_depth").iterdir()])
    for label, share in depth.bars:
        low, high = (float(number) for number in (label.replace("or more", "to inf").split(" to ")))
        assert share == pytest.approx(((metres >= low) & (metres < high)).mean(), abs=1e-3), label
    assert len(depth.bars) >= 5


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_masks_and_composites_are_reported_from_folder_and_archive(tmp_path, composites, write_params, capsys, form, monkeypatch):
    folder, changes = composites
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    path = folder if form == "folder" else shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    assert main(["--data", "--params", write_params(source="flat_numbered", path=str(path), **changes)]) == 0
    printed = capsys.readouterr().out
    assert "composites: 12" in printed
    assert "made of           2 backgrounds, 3 cut-outs" in printed
    assert "clean background  known for 12" in printed
    shares = [(np.asarray(Image.open(file)) >= 128).mean() for file in (folder / "masks").iterdir()]
    assert f"{min(shares):.1%} to {max(shares):.1%} of the image, on average {np.mean(shares):.1%}" in printed
    assert "depth, as a share of the maximum" in printed
    assert list((tmp_path / "tmp").iterdir()) == []  # what was unpacked is gone


def test_what_is_left_out_is_said_with_the_reason_and_by_the_archives_name(tmp_path, composites, write_params, capsys):
    folder, changes = composites
    (folder / "images/fgbg000002.jpg").write_bytes(b"no image")
    (folder / "depth/fgbg000005.jpg").unlink()
    (folder / "images/notes.xyz").write_text("")
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    assert main(["--data", "--params", write_params(source="flat_numbered", path=archive, **changes)]) == 0
    printed = capsys.readouterr().out
    assert "left out: 2" in printed
    assert "000005: depth map missing" in printed
    assert re.search(rf"000002: {re.escape(archive)}: images/fgbg000002\.jpg: not a readable image", printed)
    assert "1 .xyz file in images is not read, such as images/notes.xyz" in printed


def test_values_that_cannot_be_right_are_printed_and_end_with_an_error(composites, write_params, capsys):
    folder, changes = composites
    for path in (folder / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) >= 128).astype(np.uint8)).save(path.with_suffix(".png"))
        path.unlink()
    assert main(["--data", "--params", write_params(source="flat_numbered", path=str(folder), **changes)]) == 1
    printed = capsys.readouterr()
    assert "findings: 1\n  error: masks/mask000001.png: no value of 12 masks in masks is above 1 of 255" in printed.out
    assert printed.err.startswith(f"error: {folder}: masks/mask000001.png: no value of 12 masks")
    assert "Traceback" not in printed.err


def test_a_set_of_which_nothing_can_be_read_is_an_error(composites, write_params, capsys):
    folder, changes = composites
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no image")
    assert main(["--data", "--params", write_params(source="flat_numbered", path=str(folder), **changes)]) == 1
    assert "none of the composites can be read, such as 000001: " in capsys.readouterr().err


def test_photos_without_all_truth_are_described_as_such(tmp_path, write_params, capsys):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks", "depth"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(tmp_path / f"photos/images/{number}.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 10:25] = 255
    for number in range(2):
        Image.fromarray(mask).save(tmp_path / f"photos/masks/{number}.png")
    for number in range(1, 6):
        Image.fromarray(np.linspace(6000, 1000, 1200).reshape(30, 40).astype(np.uint16)).save(
            tmp_path / f"photos/depth/{number}.png"
        )
    params = write_params(source="image_mask_depth", path=str(tmp_path / "photos"))
    assert main(["--data", "--params", params]) == 0
    printed = capsys.readouterr().out
    assert "photos: 6" in printed
    assert "masks: 2\n" in printed
    assert "depth maps: 5\n" in printed
    assert "18.8% to 18.8% of the image" in printed


def test_few_files_of_many_are_read_and_it_says_so(small_demo, params):
    download = params.download.model_copy(update={"path": str(small_demo)})
    with open_data(download, Path("nowhere")) as (source, where, _):
        report = look_at_data(source, where, num_max=5, with_examples=True)
    assert [(kind.name, kind.num, kind.num_read) for kind in report.kinds] == [
        ("backgrounds", 12, 5),
        ("depth maps", 12, 5),
        ("cut-outs", 12, 5),
    ]
    assert "backgrounds: 12, of which 5 were read" in list(format_report(report))
    assert [len(kind.examples) for kind in report.kinds] == [5, 0, 5]


def test_the_page_holds_its_images_and_no_link(tmp_path, composites, write_params, capsys):
    folder, changes = composites
    page = tmp_path / "data.html"
    (folder / "images/fgbg000003.jpg").write_bytes(b"<script>")
    params = write_params(source="flat_numbered", path=str(folder), **changes)
    assert main(["--page", str(page), "--params", params]) == 0
    assert f"{page}: the same with examples" in capsys.readouterr().out
    text = page.read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', text)
    assert len(pictures) == 4 * 11  # photo, overlay, mask and depth of each that can be read
    assert {Image.open(io.BytesIO(base64.b64decode(data))).size for data, _ in pictures} == {(192, 192)}
    assert pictures[0][1] == "photo of 000001, composites"
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "not a readable image" in text
    first = page.read_bytes()
    assert main(["--page", str(page), "--params", params]) == 0
    assert page.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num", "-1", "--data"], "--num -1: allowed: 0 (all) or more"),
        (["--page", "data.png"], "--page data.png: the report is HTML"),
    ],
)
def test_options_that_cannot_be_right_are_one_line(write_params, capsys, arguments, expected):
    assert main([*arguments, "--params", write_params(path=str(PROJECT / "data/demo"))]) == 1
    assert expected in capsys.readouterr().err


def test_addresses_are_read_from_what_was_downloaded_or_not_at_all(tmp_path, raw, write_params, capsys):
    params = write_params(source="assets", path="data/sources.csv", urls=["https://example.org/set.zip"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.csv").write_text((PROJECT / "data/sources.csv").read_text())
    arguments = ["--data", "--params", params, "--raw", str(tmp_path / "raw")]
    assert main(arguments) == 1
    assert "https://example.org/set.zip: not fetched yet, so there is nothing to read" in capsys.readouterr().err
    shutil.copytree(raw, tmp_path / "raw")
    record = json.loads((tmp_path / "raw/source.json").read_text())
    record["download"] |= {"source": "assets", "path": "data/sources.csv", "urls": ["https://example.org/set.zip"]}
    (tmp_path / "raw/source.json").write_text(json.dumps(record))
    assert main(arguments) == 0
    assert f"{tmp_path / 'raw'}: assets\n\nbackgrounds: 12\n" in capsys.readouterr().out


def test_an_overlay_tints_the_foreground_and_darkens_the_rest():
    image, alpha = np.full((2, 2, 3), 100, np.uint8), np.array([[1.0, 0.0], [0.5, 0.0]], np.float32)
    painted = paint_overlay(image, alpha)
    assert painted[0, 1].tolist() == [45, 45, 45]
    assert painted[0, 0].tolist() == [78, 155, 94]  # 45 % of the image, 55 % of the tint
    assert painted[1, 0].tolist() == [62, 100, 70]


def test_each_declared_source_is_reported(tmp_path, small_demo, composites, params, capsys):
    folder, changes = composites
    second = {"source": "flat_numbered", "path": str(folder), "weight": 1.0} | changes
    first = params.download.model_dump() | {"path": str(small_demo), "more_sources": {"composited": second}}
    mixture = type(params.download)(**first)
    args = make_parser().parse_args(["--data", "--page", str(tmp_path / "data.html")])
    assert report_data(params.model_copy(update={"download": mixture}), args) == 0
    printed = capsys.readouterr().out
    assert f"{small_demo}: demo\n" in printed
    assert f"\n\n{folder}: flat_numbered\n" in printed
    assert [raw for _, _, raw in list_declared(mixture, Path("a"), Path("b"))] == [Path("a"), Path("b/composited")]
    page = (tmp_path / "data.html").read_text()
    assert 'href="#source-2"' in page
    assert 'id="source-2"' in page
