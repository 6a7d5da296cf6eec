"""Sources without depth maps, labelled by a tiny network with random weights: each once, the same after kills, in any batch."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making_depth_models import (
    METRES,
    RELATIVE,
    SIZE_PX,
    make_depth_anything,
    make_dpt_model,
    make_labelled,
    make_section,
    read_folder,
    write_photos,
)
from making_layouts import WRITERS, make_composites, make_download, save
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import hash_file, read_json
from depthmask.catalog.model_folder import find_model
from depthmask.data.images import read_rgb
from depthmask.download.fetch import fetch
from depthmask.pseudo_labels import labels
from depthmask.pseudo_labels.network import PseudoLabelModel
from depthmask.sources import find_source_class, open_source
from stages import download as download_stage
from stages import pretrain as pretrain_stage
from stages import split as split_stage

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra pseudo-labels)")

ROOT = Path(__file__).resolve().parents[2]
NUM_KILLS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_depth_anything(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def assets(tmp_path, small_demo) -> Path:
    return write_photos(tmp_path / "photos", small_demo)


@contextmanager
def counted_passes():
    """Images in each forward pass, in a list."""
    counts, forward = [], PseudoLabelModel.forward

    def count(self, pixels):
        counts.append(len(pixels))
        return forward(self, pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PseudoLabelModel, "forward", count)
        yield counts


def list_keys(folder):
    return sorted(file.stem for file in folder.iterdir())


def label_by_hand(model: Path, picture: Path) -> np.ndarray:
    """Disparity of an image, min-max over it, by the library's own classes and nothing of ours."""
    processor = transformers.DPTImageProcessor.from_pretrained(model)
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(model).eval()
    image = Image.open(picture).convert("RGB")
    inputs = processor(images=image, size={"height": SIZE_PX, "width": SIZE_PX}, return_tensors="pt")
    with torch.no_grad():
        depth = network(**inputs).predicted_depth
    depth = torch.nn.functional.interpolate(depth[None], (image.height, image.width), mode="bicubic")[0, 0].numpy()
    return (depth - depth.min()) / (depth.max() - depth.min())


def test_from_photos_without_depth_to_a_few_training_steps(tmp_path, assets, model, start, monkeypatch, capsys):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    section = make_section(model)
    values["download"] |= {"source": "assets", "path": str(assets), "depth": RELATIVE, "pseudo_labels": section}
    values["split"] |= {"validation": 0.25, "test": 0.25}
    values["model"]["width"] = 4
    phase = {"image_size_px": 16, "batch_size": 4, "samples_per_epoch": 12, "epochs": 1, "validation_samples": 4}
    values["pretrain"] |= phase
    values["compute"] |= {"device": "cpu", "threads": 1}
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(values))
    assert download_stage.main(["--out", "raw", "--cache", "cache"]) == 0
    printed = capsys.readouterr().err
    assert f"warning: depth maps are predictions of {model} (disparity), not measurements" in printed
    assert split_stage.main(["--raw", "raw", "--out", "split"]) == 0
    made = ["--weights", "model.safetensors", "--history", "history.csv", "--run", "run.json"]
    assert pretrain_stage.main(["--raw", "raw", "--split", "split", "--start", str(start), *made]) == 0
    assert read_json(Path("run.json"))["extra"]["steps"] == 3

    source, record = open_source(Path("raw")), read_json(Path("raw/source.json"))
    assert source.has_depth
    assert list_keys(Path("raw/bg_depth")) == list_keys(Path("raw/bg"))
    assert record["pseudo_labels"]["gives"] == "disparity"
    assert record["warnings"] == [line.removeprefix("warning: ") for line in printed.splitlines() if line.startswith("warning")]
    assert not (assets / "bg_depth").exists(), "the user's own folder is left as it is"
    for key in source.backgrounds:
        with Image.open(f"raw/bg_depth/{key}.png") as label:
            assert label.mode == "I;16"
            raw = np.asarray(label)
        assert (raw.min(), raw.max()) == (0, 65535)
        assert np.abs(raw / 65535 - label_by_hand(model, Path(f"raw/bg/{key}.png"))).max() < 1e-4
        background = source.read_background(key)
        assert background.valid.all()
        assert np.allclose(background.depth, 1 - raw / 65535, atol=1e-6)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("packed", [False, True])
def test_composites_of_each_layout_are_labelled_in_its_own_places(params, tmp_path, model, layout, packed):
    folder = tmp_path / "set"
    changes, expected = WRITERS[layout](folder, make_composites(3, 2, 1))
    original = find_source_class(layout)(folder, make_download(params, layout, folder, changes))
    for depth in original._depths.values():
        Path(depth).unlink()
    path = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder)) if packed else folder
    before = read_folder(folder)
    download = make_labelled(params, layout, path, model, **{key: changes[key] for key in changes if key != "depth"})
    record = fetch(download, tmp_path / "raw", tmp_path / "cache")
    assert read_folder(folder) == before
    source = open_source(tmp_path / "raw")
    assert source.has_depth
    assert [composite.key for composite in source.composites] == [composite.key for composite in original.composites]
    assert record["num_files"] == len(source.files()) == 3 * len(expected) + 3
    for composite in source.composites:
        sample = source.read_composite(composite)
        assert sample.valid.all()
        assert (sample.depth.min(), sample.depth.max()) == (0, 1)


def test_a_model_that_predicts_metres(params, tmp_path, assets):
    model = make_depth_anything(tmp_path / "metric", max_depth_m=20)
    record = fetch(make_labelled(params, "assets", assets, model, depth=METRES), tmp_path / "raw", tmp_path / "cache")
    assert record["pseudo_labels"]["gives"] == "metres"
    network = transformers.AutoModelForDepthEstimation.from_pretrained(model).eval()
    processor = transformers.DPTImageProcessor.from_pretrained(model)
    source = open_source(tmp_path / "raw")
    for key in source.backgrounds[:3]:
        background = source.read_background(key)
        inputs = processor(images=background.image, size={"height": SIZE_PX, "width": SIZE_PX}, return_tensors="pt")
        with torch.no_grad():
            metres = network(**inputs).predicted_depth
        metres = torch.nn.functional.interpolate(metres[None], background.image.shape[:2], mode="bicubic")[0, 0].numpy()
        assert metres.max() > 1
        assert np.allclose(background.depth, metres.clip(0, 10) / 10, atol=1e-4)


def test_a_dpt_model(params, tmp_path, assets):
    model = make_dpt_model(tmp_path / "dpt")
    fetch(make_labelled(params, "assets", assets, model), tmp_path / "raw", tmp_path / "cache")
    assert open_source(tmp_path / "raw").has_depth
    with pytest.raises(UserError, match="a DPT on DINOv2, whose configuration does not say"):
        find_model(make_labelled(params, "assets", assets, make_dpt_model(tmp_path / "dino", "dinov2")))


def test_each_picture_is_labelled_once(params, tmp_path, assets, model):
    shutil.copyfile(assets / "bg/000.png", assets / "bg/again.png")
    num_pictures = len(list((assets / "bg").iterdir())) - 1
    turns = iter(range(9))

    def label(**changes):
        turn = next(turns)
        with counted_passes() as passes:
            fetch(make_labelled(params, "assets", assets, model, **changes), tmp_path / f"raw{turn}", tmp_path / "cache")
        return sum(passes), read_folder(tmp_path / f"raw{turn}")

    num_labelled, first = label()
    assert num_labelled == num_pictures
    assert first["bg_depth/000.png"] == first["bg_depth/again.png"]
    assert label() == (0, first)

    (assets / "bg/000.png").rename(assets / "bg/renamed.png")
    num_labelled, renamed = label()
    assert num_labelled == 0
    assert renamed["bg_depth/renamed.png"] == first["bg_depth/000.png"]

    save(assets / "bg/001.png", np.array(Image.open(assets / "bg/001.png"))[:, ::-1])
    num_labelled, changed = label()
    assert num_labelled == 1
    assert changed["bg_depth/001.png"] != first["bg_depth/001.png"]

    (damaged,) = (tmp_path / "cache").rglob(f"{hash_file(assets / 'bg/002.png')}.*.png")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert label() == (1, changed)


def test_another_model_or_size_labels_again(params, tmp_path, assets, model):
    other = make_depth_anything(tmp_path / "other", seed=1)
    size = make_section(model, image_size_px=2 * SIZE_PX)
    made = []
    for number, changes in enumerate(({}, {"pseudo_labels": size}, {"pseudo_labels": size | {"model": str(other)}})):
        with counted_passes() as passes:
            download = make_labelled(params, "assets", assets, model, **changes)
            fetch(download, tmp_path / f"raw{number}", tmp_path / "cache")
        assert sum(passes) == len(list((assets / "bg").iterdir()))
        made.append((tmp_path / f"raw{number}/bg_depth/000.png").read_bytes())
    assert len(set(made)) == 3
    # the same files in another place are the same model
    shutil.copytree(model, tmp_path / "moved")
    with counted_passes() as passes:
        fetch(make_labelled(params, "assets", assets, tmp_path / "moved"), tmp_path / "raw3", tmp_path / "cache")
    assert passes == []
    assert (tmp_path / "raw3/bg_depth/000.png").read_bytes() == made[0]


def test_the_size_of_the_batch_changes_no_byte(params, tmp_path, assets, model):
    made = []
    for batch_size in (1, 4):
        section = make_section(model, batch_size=batch_size)
        download = make_labelled(params, "assets", assets, model, pseudo_labels=section)
        fetch(download, tmp_path / f"raw{batch_size}", tmp_path / f"cache{batch_size}")
        made.append(read_folder(tmp_path / f"raw{batch_size}/bg_depth"))
    assert made[0] == made[1]


def test_in_full_batches_a_label_does_not_depend_on_its_companions(params, tmp_path, assets, model):
    """How a GPU is used, tried on a CPU: batches of four, filled up, of images of two sizes in various orders."""
    download = make_labelled(params, "assets", assets, model)
    pictures = {file.stem: file for file in sorted((assets / "bg").iterdir())}
    scale = download.depth

    def label(at_once, names):
        network = PseudoLabelModel(find_model(download), download.pseudo_labels)
        network.at_once = at_once
        with counted_passes() as passes:
            made = dict(labels.make_labels(network, scale, {name: pictures[name] for name in names}))
        assert set(passes) == {at_once}
        return made

    together = label(4, pictures)
    assert set(together) == set(pictures)
    for names in (list(pictures)[::-1], list(pictures)[3:8], ["007"]):
        for name, label_of in label(4, names).items():
            assert label_of == together[name], name
    for name, alone in label(1, pictures).items():
        one, other = (np.asarray(Image.open(labels.io.BytesIO(png))).astype(int) for png in (alone, together[name]))
        assert np.abs(one - other).max() <= 1


def test_pictures_of_many_sizes_do_not_wait_forever(params, tmp_path, model, monkeypatch):
    monkeypatch.setattr(labels, "WAITING_MAX", 1)
    rng = np.random.default_rng(0)
    pictures = {}
    for number in range(9):
        pictures[str(number)] = tmp_path / f"{number}.png"
        save(pictures[str(number)], rng.integers(0, 255, (40 + 20 * (number % 4), 60, 3), np.uint8))
    download = make_labelled(params, "assets", tmp_path, model)
    network = PseudoLabelModel(find_model(download), download.pseudo_labels)
    network.at_once = 4
    assert set(dict(labels.make_labels(network, download.depth, pictures))) == set(pictures)


def fetch_slowly(*args):
    forward = PseudoLabelModel.forward

    def forward_slowly(self, pixels):
        time.sleep(0.05)
        with Path(args[2], "passes.txt").open("a") as log:
            log.write(f"{len(pixels)}\n")
        return forward(self, pixels)

    PseudoLabelModel.forward = forward_slowly
    torch.set_num_threads(1)
    fetch(*args)


def test_killed_labelling_is_resumed(params, tmp_path, assets, model):
    context, rng = multiprocessing.get_context("fork"), random.Random(0)
    num_pictures, cache = len(list((assets / "bg").iterdir())), tmp_path / "cache"
    download = make_labelled(params, "assets", assets, model)
    fetch(download, tmp_path / "wanted", tmp_path / "other")
    wanted = read_folder(tmp_path / "wanted")
    cache.mkdir()

    def start():
        process = context.Process(target=fetch_slowly, args=(download, tmp_path / "raw", cache))
        process.start()
        return process

    def count_passes():
        return len((cache / "passes.txt").read_text().split()) if (cache / "passes.txt").exists() else 0

    num_whole = []
    for _ in range(NUM_KILLS):
        num_before, process, since = count_passes(), start(), time.monotonic()
        while count_passes() == num_before and process.is_alive() and time.monotonic() - since < 120:
            time.sleep(0.01)
        process.join(rng.random() * 0.1)
        process.kill()
        process.join()
        num_whole.append(len(list(cache.rglob("*.*.png"))))
        if (tmp_path / "raw").exists():
            assert read_folder(tmp_path / "raw") == wanted
    last = start()
    last.join(120)
    assert last.exitcode == 0
    assert read_folder(tmp_path / "raw") == wanted
    assert num_pictures <= count_passes() <= num_pictures + NUM_KILLS, "at most the one in work is lost at each kill"
    assert num_whole == sorted(num_whole)
    assert any(0 < number < num_pictures for number in num_whole), "no kill came between the first label and the last"
    assert not list(tmp_path.glob(".*part")) and not list(cache.rglob("*.part"))
    with counted_passes() as passes:
        fetch(download, tmp_path / "raw", cache)
    assert passes == []
    assert read_folder(tmp_path / "raw") == wanted


def test_pictures_that_cannot_be_labelled_are_reported_or_skipped(params, tmp_path, assets, model):
    (assets / "bg/000.png").write_bytes(b"no image")
    save(assets / "bg/001.png", np.zeros((2, 900, 3), np.uint8))
    with pytest.raises(UserError, match=r"bg/00[01]\.png"):
        fetch(make_labelled(params, "assets", assets, model), tmp_path / "raw", tmp_path / "cache")
    assert not (tmp_path / "raw").exists()
    download = make_labelled(params, "assets", assets, model, on_bad_sample="skip")
    record = fetch(download, tmp_path / "raw", tmp_path / "cache")
    reasons = {entry["key"]: entry["reason"] for entry in record["skipped"]}
    assert list(reasons) == ["000", "001"]
    assert reasons["000"].startswith("bg/000.png: not a readable image (8 bytes)")
    assert reasons["001"].startswith("bg/001.png: 900 x 2 px cannot be resized to 56 px for the pseudo-label model")
    assert "000" not in open_source(tmp_path / "raw").backgrounds
    assert sorted(read_folder(tmp_path / "raw/bg")) == sorted(read_folder(tmp_path / "raw/bg_depth"))


def test_composites_that_cannot_be_labelled_are_skipped_whole(params, tmp_path, model):
    folder = tmp_path / "set"
    _, expected = WRITERS["nested"](folder, make_composites(3, 2, 1))
    for depth in folder.glob("*/*/depth"):
        shutil.rmtree(depth)
    (folder / "bg1/fg_1/overlay/1.jpg").write_bytes(b"")
    download = make_labelled(params, "nested", folder, model, on_bad_sample="skip")
    record = fetch(download, tmp_path / "raw", tmp_path / "cache")
    assert [entry["key"] for entry in record["skipped"]] == ["bg0001_fg0001_0001"]
    assert len(open_source(tmp_path / "raw").composites) == len(expected) - 1
    assert not (tmp_path / "raw/bg1/fg_1/mask/1.jpg").exists()


def test_photos_are_labelled_upright(params, tmp_path, assets, model):
    photo = Image.open(assets / "bg/001.png")
    turned = photo.getexif()
    turned[0x0112] = 6
    photo.save(assets / "bg/001.jpg", exif=turned)
    (assets / "bg/001.png").unlink()
    fetch(make_labelled(params, "assets", assets, model), tmp_path / "raw", tmp_path / "cache")
    with Image.open(tmp_path / "raw/bg_depth/001.png") as label:
        assert (label.height, label.width) == read_rgb(assets / "bg/001.jpg").shape[:2] == (photo.width, photo.height)
