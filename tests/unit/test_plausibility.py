"""Values of a whole source that cannot mean what params.yaml declares are found, and plausible ones are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from making_layouts import make_composites, make_download, pack_small, write_flat_numbered
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.data.cutouts import trim_cutout
from depthmask.data.images import decode_depth
from depthmask.download.fetch import fetch
from depthmask.params import DepthParams
from depthmask.sources import find_source_class
from depthmask.sources.plausibility import judge_cutouts, judge_depth, judge_masks
from depthmask.sources.value_statistics import CutoutValues, DepthValues, MaskValues, find_quantile

SHAPE = (40, 60)


def draw_mask(number: int) -> np.ndarray:
    """Alpha of an ellipse with a soft edge, uint8; each at another place."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot((y - 20) / 9, (x - 20 - 3 * number) / 7)
    return np.clip((1.15 - distance) * 850, 0, 255).astype(np.uint8)


def add_masks(*masks: np.ndarray) -> MaskValues:
    values = MaskValues()
    for number, mask in enumerate(masks):
        values.add(mask.astype(np.float32) / (65535 if mask.dtype == np.uint16 else 255), f"masks/{number}.png")
    return values


def judge(*masks: np.ndarray, **compared: int) -> list[tuple[str, bool]]:
    return [(finding.line, finding.is_error) for finding in judge_masks(add_masks(*masks), "masks", **compared)]


SOFT = [draw_mask(number) for number in range(6)]
HARD = [(mask >= 128).astype(np.uint8) for mask in SOFT]


def test_soft_and_hard_alpha_is_plausible():
    assert judge(*SOFT) == []
    assert judge(*(mask * 255 for mask in HARD)) == []
    assert judge(*(mask.astype(np.uint16) * 65535 for mask in HARD)) == []
    assert judge(*SOFT, num_inverse=1, num_compared=6) == []


def test_16_bit_masks_of_half_the_range_are_not_empty():
    ((line, is_error),) = judge(*(mask.astype(np.uint16) * 32768 for mask in HARD))
    assert "such as 32768; expected alpha, 65535 for the subject" in line
    assert is_error
    ((line, is_error),) = judge(*(mask.astype(np.uint16) * 32767 for mask in HARD))
    assert "is above 32767 of 65535; expected alpha up to 65535, foreground from 32768" in line
    assert is_error


def test_one_dark_mask_among_others_is_plausible():
    assert judge(*SOFT, *SOFT, SOFT[0] // 3) == []


def test_one_mask_of_0_and_1_among_others_is_named():
    ((line, is_error),) = judge(*SOFT, *SOFT, HARD[0])
    assert line.startswith("masks/12.png: 1 of 13 masks has values above 0 but none above 127 of 255")
    assert not is_error


def test_class_numbers_below_8_beside_an_undecided_255_are_an_error():
    classes = [hard * np.uint8(1 + n % 3) for n, hard in enumerate(HARD)]
    for mask in classes:
        mask[:2] = 255
    ((line, is_error),) = judge(*classes)
    assert "such as 1, 2, 3; expected alpha, 255 for the subject; if they are class numbers, set download.mask" in line
    assert is_error


def test_what_jpeg_makes_of_black_is_no_class_number():
    assert judge(*(np.where(hard, 252, 3).astype(np.uint8) for hard in HARD)) == []


def test_some_inverted_masks_among_others_are_named():
    ((line, _),) = judge(*SOFT, *(255 - mask for mask in SOFT[:4]))
    assert line.startswith("masks/6.png: 4 of 10 masks are foreground nearly all around their border")
    assert line.endswith("invert these files, because the others are not")


def test_grey_photos_are_no_masks():
    photos = [np.random.default_rng(n).integers(20, 230, SHAPE, np.uint8) for n in range(6)]
    ((line, _),) = judge(*photos)
    assert line.endswith("expected alpha, mostly 0 and 255: are these masks?")


@pytest.mark.parametrize(
    ("masks", "found", "key"),
    [
        (HARD, "is above 1 of 255; expected alpha up to 255, foreground from 128", "if 1 is the foreground.*{foreground: [1]}"),
        ([mask * 38 for mask in HARD], "is above 38 of 255", "if 38 is the foreground.*{foreground: [38]}"),
        ([mask * np.uint8(2 + k) for k, mask in enumerate(HARD)], "is above 7 of 255", "if 2, 3, 4, 5, 6, 7 are class numbers"),
        ([mask.astype(np.uint16) for mask in HARD], "is above 1 of 65535; expected alpha up to 65535", "{foreground: [1]}"),
        ([mask.astype(np.uint16) * 255 for mask in HARD], "is above 255 of 65535", "{foreground: [255]}"),
        ([mask // 3 for mask in SOFT], "is above 85 of 255", "scale the masks to the full range"),
    ],
)
def test_masks_that_never_pass_half_are_an_error_that_names_the_key(masks, found, key):
    ((line, is_error),) = judge(*masks)
    assert is_error
    assert line.startswith("masks/0.png: no value of 6 masks in masks ")
    assert found in line
    for part in key.split(".*"):
        assert part in line


def test_class_numbers_above_half_are_an_error_and_soft_masks_are_not():
    classes = [np.where(mask == 1, 75, 0).astype(np.uint8) for mask in HARD]
    for mask in classes:
        mask[:6, :6] = 220
    ((line, is_error),) = judge(*classes)
    assert is_error
    assert "even areas of values between 0 and 255, such as 75, 220; expected alpha" in line
    assert "set download.mask to {foreground: [75]} or others" in line


def test_trimaps_are_a_warning():
    trimaps = [np.where(mask == 255, 255, 0).astype(np.uint8) for mask in SOFT]
    for trimap in trimaps:
        trimap[:3, :30] = 128
    ((line, is_error),) = judge(*trimaps)
    assert not is_error
    assert "such as 128" in line


def test_inverted_masks_are_told_by_their_border_or_surely_by_the_clean_background():
    inverted = [255 - mask for mask in SOFT]
    ((line, is_error),) = judge(*inverted)
    assert not is_error
    assert line.startswith("masks/0.png: 6 of 6 masks are foreground nearly all around their border")
    assert "{invert: true}" in line
    ((line, is_error),) = judge(*inverted, num_inverse=5, num_compared=6)
    assert is_error
    assert "in 5 of 6 compared composites" in line


def test_empty_full_and_faint_masks_are_reported():
    nothing, everything = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 255, np.uint8)
    assert "all 2 masks are empty: every value is 0" in judge(nothing, nothing)[0][0]
    assert "all 2 masks are full" in judge(everything, everything)[0][0]
    assert "masks/1.png: 5 of 6 masks are empty" in judge(SOFT[0], *[nothing] * 5)[0][0]
    specks = nothing.copy()
    specks[3, 4:6] = 5
    ((line, is_error),) = judge(specks, nothing)
    assert "all 2 masks are empty: only specks are above 0, up to 5 of 255" in line
    assert not is_error
    ((line, is_error),) = judge(*SOFT, *HARD[:2])
    assert "masks/6.png: 2 of 8 masks have values above 0 but none above 127" in line
    assert not is_error
    assert judge_masks(MaskValues(), "masks") == []


METRES = DepthParams(unit="metre", polarity="near_is_small", max=10.0, raw_max=255, raw_unknown=None)


def draw_depth(number: int, top: float, bottom: float, dtype: type = np.uint8) -> np.ndarray:
    """A ramp from the top to the bottom of the image, a little different each time."""
    ramp = np.linspace(top, bottom, SHAPE[0])[:, None] * np.linspace(1, 1.01 + 0.002 * number, SHAPE[1])
    return ramp.astype(dtype) if dtype == np.float32 else ramp.round().astype(dtype)


def judge_maps(maps: list[np.ndarray], **changes) -> list[tuple[str, bool]]:
    scale = METRES.model_copy(update=changes)
    values = DepthValues()
    for number, raw in enumerate(maps):
        values.add(raw, *decode_depth(raw, scale), f"depth/{number}.png", None)
    return [(finding.line, finding.is_error) for finding in judge_depth(values, scale, "depth")]


FLOATING = [draw_depth(number, 9.5, 1.2, np.float32) for number in range(6)]
EIGHT = [draw_depth(number, 200, 40) for number in range(6)]
DEEP = [draw_depth(number, 7000, 1500, np.uint16) for number in range(6)]


def test_floating_point_depth_of_0_and_nan_alone_is_an_error():
    raw = np.full(SHAPE, np.nan, np.float32)
    raw[:9] = 0
    assert judge_maps([raw, raw], raw_max=None) == [("depth: no value of 2 depth maps is above 0; expected measurements", True)]


def test_depth_that_fits_its_declaration_is_plausible():
    assert judge_maps(EIGHT) == []
    assert judge_maps(DEEP, raw_max=10000) == []
    assert judge_maps(DEEP, raw_max=65535, max=65.535) == []
    assert judge_maps([255 - raw for raw in EIGHT], polarity="near_is_large") == []
    assert judge_maps(FLOATING, raw_max=None) == []
    assert judge_maps([raw // 4 for raw in DEEP], raw_max=20000, max=20.0) == []  # a small room in millimetres
    assert judge_maps([raw * 5 for raw in DEEP], raw_max=50000) == []


@pytest.mark.parametrize(
    ("maps", "changes", "found", "is_error"),
    [
        (EIGHT, {"raw_max": 20000, "max": 20.0}, "download.depth.raw_max is 20000, so all depth is read as 0.204 m", True),
        (EIGHT, {"raw_max": 1000}, "although download.depth.raw_max is 1000", False),
        (DEEP, {}, "100% of the values of 6 depth maps are above download.depth.raw_max, 255", True),
        (DEEP, {"raw_max": 4000}, "are above download.depth.raw_max, 4000", False),
        ([raw // 10 for raw in DEEP], {"raw_max": 65535}, "above 714, 1.1% of download.depth.raw_max", False),
        ([*EIGHT[:3], *DEEP], {"raw_max": 10000}, "depth/0.png: 3 of 9 depth maps have 8 bits, but depth/3.png has 16", False),
        (EIGHT, {"max": 0.1}, "half of the known depth is below 0.0", False),
        (DEEP, {"raw_max": 10000, "max": 10000.0}, "half of the known depth is above 4,2", False),
        ([raw.astype(np.float32) for raw in DEEP], {"raw_max": None}, "above download.depth.max, 10, up to 71", True),
        (FLOATING, {}, "no floating-point value of 6 depth maps is above 9.647, as if they were in metres", True),
        ([raw / 9 for raw in FLOATING], {"unit": "relative", "max": 3.0, "raw_max": 20}, "as if they were in units of", False),
        ([raw / max(map(np.max, FLOATING)) for raw in FLOATING], {"raw_max": None}, "is 1, as if they were normalised", False),
        (DEEP, {"raw_max": 65535}, "11% of download.depth.raw_max, 65535, so all depth is read as 1.09 m", False),
        ([*DEEP, DEEP[0] // 50], {"raw_max": 10000}, "depth/6.png: as declared, everything is nearer than 0.2 m in 1", False),
        ([*DEEP, DEEP[0] * 8], {"raw_max": 10000}, "depth/6.png: as declared, everything is farther than 9.8 m in 1 of 7", False),
    ],
)  # fmt: skip
def test_depth_that_does_not_fit_its_declaration_is_found(maps, changes, found, is_error):
    ((line, sure),) = judge_maps(maps, **changes)
    assert found in line
    assert sure == is_error


def test_reversed_polarity_is_told_by_the_floor():
    ((line, is_error),) = judge_maps(EIGHT, polarity="near_is_large")
    assert not is_error
    assert "farther away than its middle in 6 of 6 depth maps" in line
    assert "set download.depth.polarity to near_is_small" in line
    assert judge_maps(EIGHT[:4], polarity="near_is_large") == []  # too few to say


def test_zeros_that_nobody_declared_are_found_if_nothing_is_near_them():
    holes = [raw.copy() for raw in DEEP]
    for raw in holes:
        raw[5:10, 5:10] = 0
    ((line, _),) = judge_maps(holes, raw_max=10000)
    assert "1.0% of the pixels of 6 depth maps are 0, and the next value is 1500" in line
    assert judge_maps(holes, raw_max=10000, raw_unknown=0) == []
    near = [raw - 1500 for raw in DEEP]  # down to 0, but evenly
    assert judge_maps(near, raw_max=10000) == []


def test_a_top_value_far_above_the_others_may_mean_unknown():
    holes = [raw.copy() for raw in DEEP]
    for raw in holes:
        raw[5:10, 5:10] = 65535
    ((line, is_error),) = judge_maps(holes, raw_max=10000)
    assert "1.0% of the pixels of 6 depth maps are 65535, and the next value below is 7" in line
    assert line.endswith("set download.depth.raw_unknown to it: now it is read as 10 m")
    assert not is_error
    assert judge_maps(holes, raw_max=10000, raw_unknown=65535) == []
    assert judge_maps(holes, raw_max=10000, raw_unknown=0)[0][0].endswith("make it 0: now it is read as 10 m")
    sky = [np.where(np.arange(SHAPE[0])[:, None] < 9, 255, raw).astype(np.uint8) for raw in EIGHT]
    assert judge_maps(sky) == []  # the next value is near it


def test_zeros_in_lossy_maps_are_found_although_compression_spreads_them():
    def judge_lossy(*maps: np.ndarray) -> list[str]:
        values = DepthValues()
        for raw in maps:
            values.add(raw, *decode_depth(raw, METRES), "depth/0.jpg", 0)
        return [finding.line for finding in judge_depth(values, METRES, "depth")]

    holes = EIGHT[0].copy()
    holes[5:20, 5:20] = [0, 1, 2] * 5
    holes[5, 5:20] = 20
    (line,) = judge_lossy(holes)
    assert line.startswith("depth: 8.8% of the pixels of 1 depth maps are 0; if 0 means not measured")
    assert judge_lossy(EIGHT[0]) == []
    assert judge_lossy(EIGHT[0] - 38) == []  # down to 2, but evenly


def test_maps_of_which_nothing_is_known_or_of_one_value_are_found():
    blank = [np.zeros(SHAPE, np.uint8)] * 6
    ((line, is_error),) = judge_maps(blank, raw_unknown=0)
    assert is_error
    assert "no pixel of 6 depth maps is known: all are 0" in line
    (line, _), *_ = judge_maps([*blank[:4], *EIGHT[:3]], raw_unknown=0)
    assert "depth/0.png: nothing is known in 4 of 7 depth maps" in line
    assert "each of 6 depth maps has one value everywhere, such as 90" in judge_maps([np.full(SHAPE, 90, np.uint8)] * 6)[0][0]
    ((line, _),) = judge_maps([*EIGHT, blank[0]], raw_unknown=0)
    assert line == "depth/6.png: nothing is known in 1 of 7 depth maps: every pixel is 0 (download.depth.raw_unknown)"
    ((line, is_error),) = judge_maps([raw * np.nan for raw in FLOATING], raw_max=None)
    assert line == "depth: no pixel of 6 depth maps is known: all are NaN or infinite; expected measurements"
    assert is_error
    assert "1 of 7 depth maps have one value" in judge_maps([*EIGHT, np.full(SHAPE, 90, np.uint8)])[0][0]


def test_lossy_maps_are_said_with_what_they_lose():
    scale = METRES.model_copy(update={"raw_unknown": 0})
    values = DepthValues()
    values.add(EIGHT[0], *decode_depth(EIGHT[0], scale), "depth/0.jpg", 240)
    (finding,) = judge_depth(values, scale, "depth")
    assert "depth/0.jpg: 1 of 1 depth maps are JPEG or another lossy format" in finding.line
    assert "10.0% of the pixels" in finding.line


def test_values_of_several_processes_are_those_of_one():
    maps = [*EIGHT, *DEEP, np.full(SHAPE, 2.5, np.float32)]
    whole, parts = DepthValues(), [DepthValues(), DepthValues(), DepthValues()]
    for number, raw in enumerate(maps):
        for values in (whole, parts[number * 3 // len(maps)]):
            values.add(raw, *decode_depth(raw, METRES), f"{number}.png", number)
    joined = DepthValues()
    for part in parts:
        joined.join(DepthValues.from_json(json.loads(json.dumps(part.to_json()))))
    assert joined.to_json() == whole.to_json()
    values, counts = whole.list_values()
    everything = np.concatenate([raw.ravel().astype(float) for raw in maps])
    assert counts.sum() == everything.size
    for share in (0.01, 0.5, 0.99):
        expected = np.quantile(everything, share, method="inverted_cdf")
        assert find_quantile(values, counts, share) == pytest.approx(expected, rel=0.01)


def test_odd_cutouts_are_reported():
    values = CutoutValues(num=5, num_rectangles=2, num_small=1, num_hollow=5)
    values.first = {"rectangle": "fg/a.png", "small": "fg/b.png", "hollow": "fg/c.png"}
    lines = [finding.line for finding in judge_cutouts(values)]
    assert [line.partition(" cut-outs ")[0] for line in lines] == ["fg/c.png: 5 of 5", "fg/a.png: 2 of 5", "fg/b.png: 1 of 5"]
    assert judge_cutouts(CutoutValues(num=5)) == []


def test_translucent_cutouts_and_halos_are_reported():
    y, x = np.mgrid[:120, :120]
    distance = np.hypot(y - 60, x - 60)

    def judge_alpha(alpha: np.ndarray) -> list[str]:
        values = CutoutValues()
        rgba = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha.astype(np.uint8)])
        values.add(trim_cutout(rgba, Path("a.png")), "fg/a.png")
        return [finding.line for finding in judge_cutouts(values)]

    assert judge_alpha(np.clip((22 - distance) * 60, 0, 255)) == []  # a soft edge of 4 px
    (line,) = judge_alpha((distance < 20) * 200)
    assert line.startswith("fg/a.png: 1 of 1 cut-outs are translucent everywhere: no alpha is above 249 of 255")
    (line,) = judge_alpha(np.maximum((distance < 20) * 255, (distance < 50) * 60))
    assert line.startswith("fg/a.png: in 1 of 1 cut-outs a faint halo or shadow")


@pytest.fixture
def composites(tmp_path, params):
    """Writes twelve composites in the layout flat_numbered, with changed masks, and returns what downloads them."""

    def write(change=lambda mask: mask):
        changes, _ = write_flat_numbered(tmp_path / "set", make_composites(2, 3, 2))
        for path in sorted((tmp_path / "set/masks").iterdir()):
            Image.fromarray(change(np.asarray(Image.open(path)))).save(path.with_suffix(".png"))
            path.unlink()
        return make_download(params, "flat_numbered", tmp_path / "set", changes)

    return write


def test_download_refuses_masks_of_0_and_1_and_writes_nothing(tmp_path, composites):
    download = composites(lambda mask: (mask >= 128).astype(np.uint8))
    with pytest.raises(UserError, match=r"set: masks/mask000001\.png: no value of 12 masks in masks is above 1 of 255"):
        fetch(download, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_download_refuses_inverted_masks_before_it_blames_the_backgrounds(tmp_path, composites):
    download = composites(lambda mask: 255 - mask)
    with pytest.raises(UserError, match=r"in \d+ of 8 compared composites the mask is 255 where the clean background shows"):
        fetch(download, tmp_path / "raw")


def test_pack_judges_all_composites_that_download_did_not_look_at(tmp_path, composites, monkeypatch):
    monkeypatch.setattr("depthmask.sources.pre_composited.PreCompositedSource.sample_values.__defaults__", (0,))
    fetch(composites(lambda mask: (mask >= 128).astype(np.uint8) * 38), tmp_path / "raw")
    with pytest.raises(UserError, match=r"if 38 is the foreground, set download\.mask to"):
        pack_small(tmp_path / "raw", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_plausible_composites_raise_no_alarm(tmp_path, composites):
    fetch(composites(), tmp_path / "raw")
    assert pack_small(tmp_path / "raw", tmp_path / "store", num_processes=2)["warnings"] == []


@pytest.mark.parametrize("layout", ["demo", "assets"])
def test_the_demo_pack_raises_no_alarm(params, layout):
    download = params.download.model_copy(update={"source": layout, "path": "data/demo"})
    source = find_source_class(layout)(Path(__file__).parents[2] / "data/demo", download)
    assert sum(1 for _ in source.check()) == 192
    assert source.warnings == []
