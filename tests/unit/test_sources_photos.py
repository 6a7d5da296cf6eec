"""Photos with truth: what belongs to a photo, what is missing, and what becomes of it in the store and the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making_layouts import make_composites, make_download, pack_small, save, write_photos
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import read_csv
from depthmask.download.fetch import fetch
from depthmask.loading.dataset import open_samples
from depthmask.loading.split_files import PARTS
from depthmask.sources import open_source
from depthmask.sources.image_mask_depth import ImageMaskDepthSource
from depthmask.split.packed import split_packed, write_packed
from depthmask.split.statistics import measure_packed

SIZE_PX = 32
COMPOSITES = make_composites(12, 2, num_places=1)[::2] + make_composites(12, 2, num_places=1)[1:2]  # the last: another of room 0
MISSING = {"masks": (1, 4, 7, 10), "depth": (2, 5, 8, 11), "background": (0, 1, 2, 3, 4, 5, 12)}
QUARTERS = {"test": 0.25, "validation": 0.25}


def lack(number: int, kind: str) -> bool:
    return number in MISSING.get(kind, ())


@pytest.fixture(scope="module")
def made(tmp_path_factory, params) -> Path:
    """12 photos of 12 rooms and another of the first: some with masks only, some with depth only, some with both; packed."""
    root = tmp_path_factory.mktemp("photos")
    changes = write_photos(root / "set", COMPOSITES, lack)
    record = fetch(make_download(params, "image_mask_depth", root / "set", changes), root / "raw")
    assert record["skipped"] == []
    pack_small(root / "raw", root / "store")
    return root


@pytest.fixture(scope="module")
def split(made, params) -> Path:
    store = open_source(made / "store")
    (made / "split").mkdir()
    write_packed(made / "split", split_packed(store, params.split.model_copy(update=QUARTERS), seed=0), store.identity)
    return made / "split"


def open_folder(params, folder: Path, **changes) -> ImageMaskDepthSource:
    return ImageMaskDepthSource(folder, make_download(params, "image_mask_depth", folder, changes))


def test_what_is_missing_is_said_and_nothing_else_is(made):
    assert open_source(made / "raw").warnings == [
        "9 of 13 photos have a mask; the others do not count in mask losses and scores",
        "9 of 13 photos have a depth map; the others do not count in depth losses and scores",
        "6 of 13 photos have a clean background: with model.background_input: true only these are used",
    ]


def test_the_store_has_what_is_known_and_says_what_is_not(made):
    store = open_source(made / "store")
    for row, composite in enumerate(COMPOSITES):
        batch = store.read(row, SIZE_PX)
        assert batch.origins[0].key == f"photo{row:04d}" == batch.origins[0].background and batch.origins[0].cutout is None
        assert batch.knows_mask(0) != lack(row, "masks")
        assert batch.valid.all() != lack(row, "depth") and batch.valid.any() == batch.valid.all()
        if not batch.knows_mask(0):
            assert not batch.mask.any()
        else:
            expected = np.asarray(Image.fromarray(composite.sample.mask).resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX))
            assert np.abs(batch.read_alpha(0) - expected).mean() < 0.02
        if not batch.valid.all():
            assert not batch.depth.any()


def test_a_photo_read_from_its_files_is_as_in_the_store(made):
    source = open_source(made / "raw")
    for number in (1, 2, 6):
        batch = source.read_composite(source.composites[number])
        assert batch.knows_mask(0) != lack(number, "masks") and batch.valid.any() != lack(number, "depth")
        assert (batch.background is None) == lack(number, "background")


def test_every_part_gets_masks_and_depth_and_no_room_of_another(made, split):
    rows = {part: read_csv(split / f"{part}.csv") for part in PARTS}
    assert sum(map(len, rows.values())) == len(COMPOSITES)
    for part, listed in rows.items():
        numbers = [int(row["key"][-4:]) for row in listed]
        assert not all(lack(number, "masks") for number in numbers), part
        assert not all(lack(number, "depth") for number in numbers), part


def test_a_photo_and_its_flip_stay_together_and_so_do_photos_with_one_clean_background(tmp_path, params):
    changes = write_photos(tmp_path / "set", COMPOSITES[:12])
    save(tmp_path / "set/images/turned.jpg", np.asarray(Image.open(tmp_path / "set/images/photo0003.jpg"))[:, ::-1])
    save(tmp_path / "set/masks/turned.png", np.full((48, 48), 255, np.uint8))
    save(tmp_path / "set/background/photo0005.jpg", COMPOSITES[4].sample.background)
    fetch(make_download(params, "image_mask_depth", tmp_path / "set", changes), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store")
    groups = split_packed(open_source(tmp_path / "store"), params.split.model_copy(update=QUARTERS), seed=0).groups
    assert groups["turned"] == groups["photo0003"] and groups["photo0005"] == groups["photo0004"]
    assert len(set(groups.values())) == 13 - 2


def test_networks_with_a_background_see_only_photos_that_have_one(made, split, params):
    common = {"image_size_px": SIZE_PX, "compose": params.compose, "seed": 0, "num_samples": 99}
    seen = {False: set(), True: set()}
    for with_background, keys in seen.items():
        for part in PARTS:
            try:
                samples = open_samples(made / "store", split, part, with_background=with_background, **common)
            except UserError as error:
                assert "none of these" in str(error) and "set model.background_input to false" in str(error)
                continue
            batch = samples[[(0, index) for index in range(len(samples))]]
            keys |= {int(origin.key[-4:]) for origin in batch.origins}
            if with_background:
                for origin, background in zip(batch.origins, batch.background, strict=True):
                    truth = COMPOSITES[int(origin.key[-4:])].sample.background
                    small = np.asarray(Image.fromarray(truth).resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)).astype(int)
                    assert np.abs(background - small).mean() < 6
    assert seen[False] == set(range(13))
    assert seen[True] <= {6, 7, 8, 9, 10, 11} and seen[True]


def test_photos_without_any_clean_background_name_the_key(tmp_path, params):
    changes = write_photos(tmp_path / "set", COMPOSITES[:12], lambda _, kind: kind == "background")
    fetch(make_download(params, "image_mask_depth", tmp_path / "set", changes), tmp_path / "raw")
    pack_small(tmp_path / "raw", tmp_path / "store")
    with pytest.raises(UserError, match=r"no clean backgrounds; add them to background/, or set model.background_input to false"):
        open_samples(
            tmp_path / "store",
            tmp_path / "split",
            "test",
            image_size_px=SIZE_PX,
            compose=params.compose,
            seed=0,
            num_samples=1,
            with_background=True,
        )


def test_statistics_are_of_the_known_masks(made):
    store = open_source(made / "store")
    rows = np.array([1, 2, 3], np.int32)  # the first has no mask, the second no depth
    channels = measure_packed(store, rows, seed=0)
    alphas = np.stack([store.read(row, SIZE_PX).read_alpha(0) for row in (2, 3)])
    assert channels["mask"]["mean"] == [pytest.approx(alphas.mean(), abs=1e-5)]
    assert channels["mask"]["num_maps"] == 2 and channels["image"]["num_maps"] == 3


def test_a_photo_without_truth_is_not_used_and_named(tmp_path, params):
    changes = write_photos(tmp_path, COMPOSITES[:4], lambda number, kind: number == 2 and kind in ("masks", "depth"))
    source = open_folder(params, tmp_path, **changes)
    assert [composite.key for composite in source.composites] == ["photo0000", "photo0001", "photo0003"]
    assert source.warnings == ["1 of 4 photos have neither a mask nor a depth map and are not used: photo0002"]
    assert len(source.files()) == 3 * 4


@pytest.mark.parametrize(
    ("kinds", "only"), [(("depth",), "no depth maps in depth: only masks"), (("masks",), "no masks in masks: only depth")]
)
def test_a_set_of_masks_or_of_depth_alone_is_one(tmp_path, params, kinds, only):
    changes = write_photos(tmp_path, COMPOSITES[:4], lambda _, kind: kind in kinds)
    source = open_folder(params, tmp_path, **changes)
    assert [warning for warning in source.warnings if warning.startswith(only)]
    assert len(list(source.check())) == 4 and source.has_depth == ("depth" not in kinds)


def test_maps_of_another_size_are_brought_to_the_photo_without_mixing_depths(tmp_path, params):
    changes = write_photos(tmp_path, COMPOSITES[:3])
    image = np.asarray(Image.open(tmp_path / "images/photo0001.jpg").resize((96, 96)))
    save(tmp_path / "images/photo0001.jpg", image)
    raw = np.where(np.arange(48)[:, None] < 20, 40, 200).astype(np.uint8).repeat(48, axis=1).reshape(48, 48)
    save(tmp_path / "depth/photo0001.png", raw)
    source = open_folder(params, tmp_path, **changes)
    assert len(list(source.check())) == 3
    maps = source.read_maps("photo0001")
    assert maps.image.shape == (96, 96, 3) and maps.alpha.shape == maps.raw_depth.shape == (96, 96)
    assert set(np.unique(maps.raw_depth)) == {40, 200} and (maps.raw_depth[:40] == 40).all()


def spoil_names(folder: Path) -> None:
    for file in (folder / "masks").iterdir():
        file.rename(file.with_stem(f"{file.stem}_mask"))


def spoil_one_name(folder: Path) -> None:
    (folder / "depth/photo0001.png").rename(folder / "depth/foto0001.png")


def spoil_shape(folder: Path) -> None:
    save(folder / "masks/photo0001.png", np.full((48, 60), 255, np.uint8))


def spoil_view(folder: Path) -> None:
    save(folder / "background/photo0002.jpg", np.zeros((30, 60, 3), np.uint8))


def spoil_folders(folder: Path) -> None:
    (folder / "images").rename(folder / "image")


def spoil_truth(folder: Path) -> None:
    for name in ("masks", "depth"):
        (folder / name).rename(folder / f"{name[:4]}")


def spoil_orientation(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "red").save(folder / "images/photo0001.jpg", exif=exif)
    for kind in ("masks", "depth"):
        save(folder / kind / "photo0001.png", np.full((40, 60), 255, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_names,
            "masks: no photo in images/ for 4 of 4 masks: photo0000_mask, .* needs the name of its photo, such as photo0000",
        ),
        (spoil_one_name, "depth: no photo in images/ for 1 of 4 depth maps: foto0001; "),
        (spoil_shape, r"masks/photo0001.png: mask has 60 x 48 px, but photo0001.jpg has 48 x 48 px"),
        (spoil_view, r"background/photo0002.jpg: clean background has 60 x 30 px, but photo0002.jpg has 48 x 48 px"),
        (
            spoil_folders,
            r"images: no such folder, but there is image; rename it to images.*; image_mask_depth needs images/ and masks",
        ),
        (
            spoil_truth,
            r"no images in masks/ or depth/, but there is mask; rename it to masks .*; image_mask_depth needs at least",
        ),
        (
            spoil_orientation,
            r"lies on its side: photo0001.jpg is turned upright by its EXIF data to 40 x 60 px; turn the mask too",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, params, spoil, message):
    changes = write_photos(tmp_path, COMPOSITES[:4])
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        list(open_folder(params, tmp_path, **changes).check())


@pytest.mark.parametrize("spoil", [spoil_one_name, spoil_shape, spoil_view])
def test_bad_ones_can_be_skipped(tmp_path, params, spoil):
    changes = write_photos(tmp_path, COMPOSITES[:4])
    spoil(tmp_path)
    source = open_folder(params, tmp_path, **changes, on_bad_sample="skip")
    assert len(list(source.check())) == 4 and len(source.skipped) == 1
    kept = {Path(file).stem for file in source.files()}
    assert len(source.composites) == (4 if spoil is spoil_one_name else 3)
    assert kept == {composite.key for composite in source.composites}


def test_a_store_is_the_same_bytes_whatever_the_number_of_processes(made, tmp_path):
    pack_small(made / "raw", tmp_path / "store", num_processes=2)
    files = {file.relative_to(tmp_path / "store") for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert Path("known.npy") in files
    assert all((tmp_path / "store" / name).read_bytes() == (made / "store" / name).read_bytes() for name in files)
