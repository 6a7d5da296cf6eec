"""The packed store holds what its files say, whoever packed it; a wrong one is one line."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from looking_at_samples import look_at
from making_layouts import (
    NEAR_IS_SMALL,
    WRITERS,
    make_composites,
    make_download,
    pack_small,
    save,
)
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.compose.fitting import fit_picture, fit_values
from depthmask.download.fetch import fetch
from depthmask.loading.dataset import open_samples
from depthmask.sources import choose_folder, open_source
from depthmask.sources.packed import PackedSource, verify_store
from depthmask.split.packed import split_packed, write_packed
from stages import pack as pack_stage
from stages import split as split_stage

SIZES_PX = (20, 32)
SOURCE_PX = 48


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory, params) -> Path:
    """A folder with `raw` of 24 composites of 48 x 48 px, with clean backgrounds."""
    root = tmp_path_factory.mktemp("store")
    changes, _ = WRITERS["flat_numbered"](root / "set", make_composites(4, 3, 2, SOURCE_PX))
    fetch(make_download(params, "flat_numbered", root / "set", changes), root / "raw")
    return root


@pytest.fixture(scope="module")
def packed(downloaded) -> PackedSource:
    pack_small(downloaded / "raw", downloaded / "store", SIZES_PX)
    return PackedSource(downloaded / "store")


def list_files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def compare_with_files(raw: Path, packed: PackedSource, fit: str) -> None:
    """Every composite of the store against the images that it was made of, resized as training would."""
    source = open_source(raw)
    assert len(packed) == len(source.composites)
    for row, composite in enumerate(source.composites):
        maps, original = source.read_maps(composite.key), look_at(source.read_composite(composite))
        for size_px in packed.sizes_px:
            # the depth's files are decoded after they are picked: the same, since picking mixes no values
            found = look_at(packed.read(row, size_px, packed.has_backgrounds))
            assert found.origin == composite
            wanted = {
                "image": fit_picture(maps.image, size_px, fit),
                "depth": fit_values(original.depth, size_px, fit),
                "valid": fit_values(original.valid.astype(np.uint8), size_px, fit).astype(bool),
            }
            for name, values in wanted.items():
                np.testing.assert_array_equal(getattr(found, name), values)
                assert getattr(found, name).dtype == values.dtype
            if packed.has_backgrounds:
                np.testing.assert_array_equal(found.background, fit_picture(original.background, size_px, fit))
            assert found.mask.dtype == np.float32
            alpha = fit_picture(maps.alpha, size_px, fit).clip(0, 1)
            np.testing.assert_allclose(found.mask, alpha, rtol=0, atol=0.5 / 255 + 1e-6)


def test_what_is_read_is_what_the_files_say(downloaded, packed):
    compare_with_files(downloaded / "raw", packed, "crop")


def test_pictures_are_shrunk_with_antialiasing(downloaded, packed):
    source = open_source(downloaded / "raw")
    image = source.read_maps(source.composites[0].key).image
    area = cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(packed.read(0, 20).image[0], area)
    assert (area != cv2.resize(image, (20, 20), interpolation=cv2.INTER_LINEAR)).any()


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_sizes_may_differ_from_composite_to_composite(params, tmp_path, fit):
    """16-bit depth with unknown values, and a clean background that is stretched to composites of three shapes."""
    rng = np.random.default_rng(0)
    shapes = [(40, 30), (30, 40), (25, 25), (40, 30)]
    for number, (height, width) in enumerate(shapes, start=1):
        save(tmp_path / f"set/images/fgbg{number:06d}.png", rng.integers(0, 255, (height, width, 3), np.uint8))
        mask = np.zeros((height, width), np.uint8)
        mask[8:18, 8:16] = 255
        save(tmp_path / f"set/masks/mask{number:06d}.png", mask)
        depth = rng.integers(0, 30000, (height, width)).astype(np.uint16)
        depth[:9] = 0
        save(tmp_path / f"set/depth/fgbg{number:06d}.png", depth)
    save(tmp_path / "set/bare/room.png", rng.integers(0, 255, (50, 60, 3), np.uint8))
    scale = {"unit": "metre", "polarity": "near_is_small", "max": 20.0, "raw_max": 20000, "raw_unknown": 0}
    fetch(make_download(params, "flat_numbered", tmp_path / "set", {"depth": scale, "backgrounds": "bare"}), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store", SIZES_PX, fit)
    packed = PackedSource(tmp_path / "store")
    compare_with_files(tmp_path / "raw", packed, fit)
    assert not packed.read(0, 20).valid.all()
    assert np.load(tmp_path / "store/20/depth-0001.npy").dtype == np.uint16
    assert len(np.load(tmp_path / "store/20/clean.npy")) == 3, "one for each shape of the background's composites"


@pytest.mark.parametrize(
    ("raw_max", "raw_unknown", "name"), [(255, None, "uint8"), (200, 0, "uint8"), (255, 255, "uint16"), (256, None, "uint16")]
)
@pytest.mark.parametrize("bits", [8, 16])
def test_depth_takes_no_more_bytes_than_its_values_need(params, tmp_path, raw_max, raw_unknown, name, bits):
    values = np.array([[0, 100, 254], [255, 256, 300], [65535, 7, 1]]).clip(max=2**bits - 1).astype(f"uint{bits}")
    save(tmp_path / "set/images/fgbg000001.png", np.full((3, 3, 3), 90, np.uint8))
    save(tmp_path / "set/masks/mask000001.png", np.diag([255, 255, 0]).astype(np.uint8))
    save(tmp_path / "set/depth/fgbg000001.png", values)
    scale = NEAR_IS_SMALL | {"raw_max": raw_max, "raw_unknown": raw_unknown}
    fetch(make_download(params, "flat_numbered", tmp_path / "set", {"depth": scale}), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store", (3,))
    compare_with_files(tmp_path / "raw", PackedSource(tmp_path / "store"), "crop")
    assert np.load(tmp_path / "store/3/depth-0002.npy").dtype == name


@pytest.mark.parametrize("num_processes", [2, 4])
def test_the_number_of_processes_changes_no_byte(downloaded, packed, tmp_path, num_processes):
    pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX, num_processes=num_processes)
    assert list_files(tmp_path / "store") == list_files(packed.root)
    assert not list((tmp_path / "shards").iterdir()), "nothing is left of the work"


def test_parts_that_others_have_made_are_taken_over(downloaded, packed, tmp_path, params):
    """As Snakemake does it: each part by a command of its own, in any order, then the stage's command."""
    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    changed = text.replace("image_size_px: 160", "image_size_px: 20").replace("image_size_px: 224", "image_size_px: 32")
    (tmp_path / "params.yaml").write_text(changed.replace("shards: 16", "shards: 3"))
    raw, work = ["--params", str(tmp_path / "params.yaml"), "--raw", str(downloaded / "raw")], tmp_path / ".shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for shard in (2, 0):
            assert pack_stage.main([*raw, "--shard", str(shard), "--note", f"{shard}.json"]) == 0
        parts = {Path(read_json(tmp_path / f"{shard}.json")["made"][0]): shard for shard in (2, 0)}
        times = {part: (part / "shard.json").stat().st_mtime_ns for part in parts}
        assert pack_stage.main([*raw, "--shard", "2", "--note", "2.json"]) == 0
        assert times == {part: (part / "shard.json").stat().st_mtime_ns for part in parts}, "made once"
        assert pack_stage.main([*raw, "--out", "store", "--run", "run.json"]) == 0
        assert read_json(tmp_path / "run.json")["extra"]["shards_found"] == 2
        assert pack_stage.main([*raw, "--shard", "3", "--note", "3.json"]) == 1
        assert pack_stage.main(["--verify", "store"]) == 0
    assert list_files(tmp_path / "store") == list_files(packed.root)
    assert not list(work.iterdir())


def test_a_damaged_part_is_found_and_made_again_by_the_next_run(downloaded, packed, tmp_path, monkeypatch):
    monkeypatch.setattr("depthmask.packing.pack.gather", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX)
    monkeypatch.undo()
    part = next((tmp_path / "shards").glob("pack-*/0001"))
    _flip_a_byte(part / "20/image-0001.npy")
    (part.parent / "0002/shard.json").unlink()
    with pytest.raises(UserError, match=r"0001: damaged and removed \(1 in all\); rerun the same command"):
        pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX)
    assert not (tmp_path / "store").exists()
    pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX)
    assert list_files(tmp_path / "store") == list_files(packed.root)


@pytest.mark.parametrize("way", ["a letter", "cut", "empty", "list", "no array", "short array"])
def test_a_part_whose_record_or_array_has_changed_is_made_again(downloaded, packed, tmp_path, monkeypatch, way):
    monkeypatch.setattr("depthmask.packing.pack.gather", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX)
    monkeypatch.undo()
    part = next((tmp_path / "shards").glob("pack-*/0001"))
    record = part / "shard.json"
    text = record.read_text()
    if way == "no array":
        (part / "20/image-0001.npy").unlink()
    elif way == "short array":
        _truncate(part / "20/image-0001.npy")
    else:
        key = read_json(record)["keys"][0]
        record.write_text({"a letter": text.replace(f'"{key}"', f'"{key}x"'), "cut": text[:-30], "empty": "", "list": "[]"}[way])
    pack_small(downloaded / "raw", tmp_path / "store", SIZES_PX)
    assert list_files(tmp_path / "store") == list_files(packed.root)


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 255
    path.unlink()  # it may have a second name, whose bytes are another's
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-100])


def _write_index(change: dict):
    def write(path: Path) -> None:
        values = read_json(path) | change
        path.unlink()
        write_json(path, values)

    return write


@pytest.mark.parametrize(
    ("name", "spoil", "printed"),
    [
        ("index.json", Path.unlink, "index.json: no such file; run the pack stage"),
        ("index.json", lambda path: path.write_text("{"), r"index.json: damaged \(.*\); run the pack stage again"),
        ("index.json", _write_index({"format": 7}), "store format 7, but this version reads format 2; run the pack stage again"),
        ("20/image-0001.npy", Path.unlink, "20/image-0001.npy: no such file; run the pack stage again"),
        ("32/depth-0000.npy", _truncate, r"32/depth-0000.npy: \d+ bytes instead of \d+; run the pack stage again"),
        ("background.npy", _truncate, r"background.npy: \d+ bytes instead of \d+; run the pack stage again"),
        ("source.json", Path.unlink, "source.json: no such file; run the pack stage"),
    ],
)
def test_a_store_that_is_not_whole_is_one_line_when_it_is_opened(packed, tmp_path, name, spoil, printed):
    root = tmp_path / "store"
    shutil.copytree(packed.root, root)
    spoil(root / name)
    with pytest.raises(UserError, match=f"^{root}/.*{printed}") as error:
        PackedSource(root)
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_those_that_were_packed_are_found(packed, tmp_path):
    root = tmp_path / "store"
    shutil.copytree(packed.root, root)
    assert verify_store(root) == len(read_json(root / "index.json")["arrays"]) == len(list(root.rglob("*.npy")))
    _flip_a_byte(root / "32/mask-0002.npy")
    PackedSource(root)
    with pytest.raises(UserError, match=r"32/mask-0002\.npy: damaged: its sha256 differs from the index; run the pack"):
        verify_store(root)
    shutil.copytree(packed.root, tmp_path / "other")
    _write_index({"fit": "stretch"})(tmp_path / "other/index.json")
    with pytest.raises(UserError, match=r"index\.json: damaged"):
        verify_store(tmp_path / "other")


def test_a_bad_composite_is_one_line_that_names_the_users_file_or_is_skipped(params, downloaded, tmp_path, capfd):
    """What a header does not show: the download takes it, and the packing tells."""
    shutil.copytree(downloaded / "set", tmp_path / "set")
    recorded = read_json(downloaded / "raw/source.json")["download"]
    download = make_download(params, "flat_numbered", tmp_path / "set", recorded | {"path": str(tmp_path / "set")})
    spoilt = {
        "images/fgbg000002.jpg": (lambda path: path.write_bytes(path.read_bytes()[:700]), "damaged image"),
        "masks/mask000009.jpg": (
            lambda path: save(path, (np.eye(48)[..., None] * [255, 0, 9]).astype(np.uint8)),
            "a colour JPEG",
        ),
        "depth/fgbg000017.jpg": (lambda path: save(path, np.zeros((48, 48), np.uint8)), "depth map is 0 everywhere"),
    }
    for name, (spoil, printed) in spoilt.items():
        kept = (tmp_path / "set" / name).read_bytes()
        spoil(tmp_path / "set" / name)
        fetch(download, tmp_path / "raw")
        for num_processes in (1, 3):
            with pytest.raises(UserError, match=printed) as error:
                pack_small(tmp_path / "raw", tmp_path / "store", num_processes=num_processes)
            assert str(error.value).startswith(f"{tmp_path}/set/{name}: ") and "\n" not in str(error.value)
            assert not (tmp_path / "store").exists()
        (tmp_path / "set" / name).write_bytes(kept)
    for name, (spoil, _) in spoilt.items():
        spoil(tmp_path / "set" / name)
    (tmp_path / "set/masks/mask000004.jpg").unlink()
    fetch(download.model_copy(update={"on_bad_sample": "skip"}), tmp_path / "raw")
    stores = [pack_small(tmp_path / "raw", tmp_path / f"store{n}", num_processes=n) for n in (1, 3)]
    assert list_files(tmp_path / "store1") == list_files(tmp_path / "store3")
    assert [entry["key"] for entry in stores[0]["skipped"]] == ["000004", "000002", "000009", "000017"]
    assert all(spoilt[name][1] in entry["reason"] for name, entry in zip(spoilt, stores[0]["skipped"][1:], strict=True))
    packed = PackedSource(tmp_path / "store1")
    assert len(packed) == 20 and packed.read(1, 32).origins[0].key == "000003"
    assert read_json(tmp_path / "store1/source.json")["skipped"] == stores[0]["skipped"]
    capfd.readouterr()


def test_more_bad_composites_than_good_ones_are_an_error_all_the_same(params, downloaded, tmp_path):
    shutil.copytree(downloaded / "set", tmp_path / "set")
    for number in range(1, 14):
        path = tmp_path / f"set/images/fgbg{number:06d}.jpg"
        path.write_bytes(path.read_bytes()[:700])
    recorded = read_json(downloaded / "raw/source.json")["download"] | {"path": str(tmp_path / "set")}
    fetch(make_download(params, "flat_numbered", tmp_path / "set", recorded | {"on_bad_sample": "skip"}), tmp_path / "raw")
    with pytest.raises(UserError, match=r"13 samples are bad and only 11 are good; the first, 000001: "):
        pack_small(tmp_path / "raw", tmp_path / "store")


def _open(packed: PackedSource, split: Path, params, **changes):
    options = {"image_size_px": 20, "compose": params.compose, "seed": 5, "num_samples": 1000, "with_background": True}
    return open_samples(packed.root, split, "train", **{**options, **changes})


@pytest.fixture(scope="module")
def split_of_packed(packed, params, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    quarters = params.split.model_copy(update={"test": 0.25, "validation": 0.25})
    write_packed(folder, split_packed(packed, quarters, seed=0), packed.identity)
    return folder


def test_an_epoch_is_a_permutation_of_the_parts_rows(packed, split_of_packed, params):
    samples = _open(packed, split_of_packed, params)
    rows = np.load(split_of_packed / "train.npy")
    wanted = sorted(packed.read(int(row), 20).origins[0].key for row in rows)
    assert len(samples) == len(rows) > 3
    orders = [[origin.key for origin in samples[[(epoch, index) for index in range(len(rows))]].origins] for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == wanted
    assert orders[0] == orders[2] != orders[1]


def test_a_process_that_is_sent_the_samples_opens_the_store_for_itself(packed, split_of_packed, params):
    samples = _open(packed, split_of_packed, params)
    first = samples[[(1, 3)]]
    sent = pickle.dumps(samples)
    assert len(sent) < 4000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        again = pool.apply(samples.__getitem__, ([(1, 3)],))
    for name in ("image", "mask", "depth", "valid", "background"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_what_was_not_packed_is_asked_for_in_one_line(packed, downloaded, split_of_packed, params, raw, tmp_path):
    with pytest.raises(UserError, match=r"packed at 20, 32 px, crop, but 24 px, crop is needed; run the pack stage again"):
        _open(packed, split_of_packed, params, image_size_px=24)
    stretch = params.compose.model_copy(update={"fit": "stretch", "field_of_view_deg": None})
    with pytest.raises(UserError, match="20 px, stretch is needed"):
        _open(packed, split_of_packed, params, compose=stretch)
    other = tmp_path / "split"
    shutil.copytree(split_of_packed, other)
    write_json(other / "store.json", {"store": "another"})
    with pytest.raises(UserError, match=r"split of another store than .*; run the split stage again"):
        _open(packed, other, params)
    assert choose_folder(raw, None) == raw, "assets need no store"
    assert choose_folder(downloaded / "raw", packed.root) == packed.root
    with pytest.raises(UserError, match="give its folder"):
        choose_folder(downloaded / "raw", None)
    with pytest.raises(UserError, match="run the pack stage first"):
        choose_folder(downloaded / "raw", tmp_path / "none")
    shutil.copytree(downloaded / "raw", tmp_path / "raw")
    _write_index({"sha256": "other"})(tmp_path / "raw/source.json")
    with pytest.raises(UserError, match=r"packed from other data than .*raw; run the pack stage again"):
        choose_folder(tmp_path / "raw", packed.root)


def test_of_assets_there_is_nothing_to_pack(raw, tmp_path, capsys):
    params = ["--params", str(Path(__file__).parents[2] / "params.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert pack_stage.main([*params, "--raw", str(raw), "--out", "store", "--run", "run.json"]) == 0
        assert pack_stage.main([*params, "--raw", str(raw), "--shard", "1", "--note", "note.json"]) == 0
    assert "nothing to pack" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["index.json"]
    run = read_json(tmp_path / "run.json")
    assert run["stage"] == "pack" and run["seconds"] >= 0 and set(run["params"]) == {"pack", "fit", "sizes_px"}
    assert json.loads((tmp_path / "note.json").read_text()) == {"shard": 1, "made": []}
    assert not (tmp_path / ".shards").exists()
    with pytest.raises(UserError, match="nothing is packed here"):
        open_source(tmp_path / "store")


def test_split_stage_reads_the_store_and_no_picture(packed, downloaded, tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copyfile(downloaded / "raw/source.json", raw / "source.json")  # and not one of its images
    arguments = ["--params", str(Path(__file__).parents[2] / "params.yaml"), "--raw", str(raw), "--store", str(packed.root)]
    assert split_stage.main([*arguments, "--out", str(tmp_path / "split")]) == 0
    statistics = read_json(tmp_path / "split/statistics.json")
    rows = {part: np.load(tmp_path / f"split/{part}.npy") for part in ("train", "validation", "test")}
    assert statistics["counts"] == {part: {"composite": len(listed)} for part, listed in rows.items()}
    images = np.stack([packed.read(int(row), 20).image[0] for row in rows["train"]]) / 255
    assert statistics["channels"]["image"]["mean"] == pytest.approx(images.mean(axis=(0, 1, 2)), abs=1e-6)
    assert statistics["channels"]["depth"]["num_maps"] == len(rows["train"])
    assert "note:" not in capsys.readouterr().err


def grow_store(root: Path, packed: PackedSource, times: int) -> None:
    """A store with so many times the composites: the same images, but for their number."""
    shutil.copytree(packed.root, root)
    index = read_json(root / "index.json")
    index["rows"] = [number * times for number in index["rows"]]
    for name in index["arrays"]:
        if not name.endswith(("clean.npy", "_names.npy")) or name == "clean.npy":
            values = np.load(root / name)
            (root / name).unlink()
            np.save(root / name, np.tile(values, (times, *(1 for _ in values.shape[1:]))))
        index["arrays"][name] |= {"num_bytes": (root / name).stat().st_size}
    (root / "index.json").unlink()
    write_json(root / "index.json", index)


def test_opening_and_reading_take_memory_that_does_not_grow_with_the_store(packed, tmp_path):
    """Python's own; what is mapped is measured by benchmarks/scale.py."""
    grow_store(tmp_path / "store", packed, times=200)
    stores = {24: packed.root, 4800: tmp_path / "store"}
    used = {}
    for num_composites, root in stores.items():
        PackedSource(root).read(0, 20, True)
        tracemalloc.start()
        source = PackedSource(root)
        assert len(source) == num_composites
        for row in range(0, len(source), len(source) // 24):
            source.read(row, 20, True)
        used[num_composites] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert used[4800] < 200_000
    assert used[4800] < used[24] + 20_000


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".exr", ".tif"])
def test_depth_in_metres_keeps_its_value_in_the_store(tmp_path, params, suffix):
    """As 16-bit millimetres do; masks are class numbers in a palette, read by the declared rule."""
    composites = make_composites(3, 3, 1, SOURCE_PX)
    scale = {"unit": "metre", "polarity": "near_is_small", "max": 20.0, "raw_unknown": 0}
    for name in ("floats", "millimetres"):
        for number, made in enumerate(composites, start=1):
            folder = tmp_path / name
            save(folder / f"images/fgbg{number:06d}.png", made.sample.image)
            millimetres = np.round(made.sample.depth * 20000).astype(np.uint16)
            millimetres[:3] = 0
            (folder / "depth").mkdir(exist_ok=True)
            if name == "millimetres":
                save(folder / f"depth/fgbg{number:06d}.png", millimetres)
            else:
                metres = np.where(millimetres == 0, np.nan, millimetres / np.float32(1000)).astype(np.float32)
                write_depth(folder / f"depth/fgbg{number:06d}{suffix}", metres)
            mask = Image.fromarray((made.sample.mask >= 0.5).astype(np.uint8) * 15, "P")
            mask.putpalette([0, 0, 0] * 15 + [192, 128, 128])
            (folder / "masks").mkdir(exist_ok=True)
            mask.save(folder / f"masks/mask{number:06d}.png")
        changes = {
            "depth": scale | {"raw_max": None if name == "floats" else 20000},
            "mask": {"foreground": [15]},
            "composites_per_background": 3,
        }
        fetch(make_download(params, "flat_numbered", tmp_path / name, changes), tmp_path / f"raw_{name}")
        pack_small(tmp_path / f"raw_{name}", tmp_path / f"store_{name}", (SOURCE_PX,))
    assert (tmp_path / f"raw_floats/depth/fgbg000001{suffix}").is_file()
    floats, millimetres = (PackedSource(tmp_path / f"store_{name}") for name in ("floats", "millimetres"))
    for row in range(len(composites)):
        first, second = (source.read(row, SOURCE_PX) for source in (floats, millimetres))
        np.testing.assert_array_equal(first.mask, second.mask)
        np.testing.assert_array_equal(first.mask[0] == 255, composites[row].sample.mask >= 0.5)
        np.testing.assert_array_equal(first.valid, second.valid)
        np.testing.assert_allclose(first.depth, second.depth, atol=1e-6)
        assert not first.valid[0, :3].any()


def write_depth(path: Path, metres: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, metres)
    elif path.suffix == ".pfm":
        path.write_bytes(b"Pf\n%d %d\n-1.0\n" % metres.shape[::-1] + metres[::-1].tobytes())
    elif path.suffix == ".exr":
        import OpenEXR

        with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": metres}) as file:
            file.write(str(path))
    else:
        Image.fromarray(metres).save(path)
