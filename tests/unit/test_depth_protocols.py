"""Depth protocols: fits, caps, Eigen crop, SILog and boundary F1, against NumPy written from the papers and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.compose.fitting import fit_values
from depthmask.data.batch import ByteBatch
from depthmask.data.sample import Origin
from depthmask.evaluation.baselines import make_baselines
from depthmask.evaluation.depth_protocol import describe_caps, make_protocol, require_nyu_frames
from depthmask.evaluation.not_scored import NO_BOUNDARY, NO_DEPTH, NO_DEPTH_INSIDE, NO_RATIOS, RELATIVE_DEPTH
from depthmask.evaluation.score import make_metrics, make_rows, score_samples
from depthmask.metrics import score_family
from depthmask.metrics.alignment import RATIO_FLOOR, align_disparity, scale_to_median
from depthmask.metrics.boundary import THRESHOLDS, gather_boundary_f1
from depthmask.metrics.depth import gather_depth
from depthmask.metrics.protocol import PLAIN_PROTOCOL, DepthProtocol, Window, make_eigen_window
from depthmask.models.inference import PredictedMaps
from depthmask.params import DepthParams, make_params
from depthmask.scores import (
    ALIGNED,
    ALIGNED_DISPARITY,
    CAPPED,
    CAPPED_EIGEN,
    EIGEN,
    MEDIAN_SCALED,
    NOT_SCORED,
    SUFFIXES,
    VARIANTS,
    list_scores,
    split_key,
)
from depthmask.scores.labels import describe_column

MAX_DEPTH = 10.0
ERRORS = ("rmse", "mae", "abs_rel", "log10", "delta1", "delta2", "delta3")
WINDOW = Window((0.25, 0.9), (0.1, 0.8))
PROTOCOLS = {
    "": PLAIN_PROTOCOL,
    CAPPED: DepthProtocol(depth_min=0.2, depth_max=0.8),
    EIGEN: DepthProtocol(crop=WINDOW),
    CAPPED_EIGEN: DepthProtocol(depth_min=0.3, depth_max=0.9, crop=WINDOW),
}


def row(*values: float) -> torch.Tensor:
    return torch.tensor([[[list(values)]]], dtype=torch.float64)


def measure(depth, truth, valid=None, protocol=PLAIN_PROTOCOL, depth_max=1.0) -> dict[str, torch.Tensor]:
    valid = torch.ones_like(truth).bool() if valid is None else valid
    return score_family("depth", gather_depth(depth, truth, valid, protocol=protocol), depth_max)


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions and truths of 5 images, some of both 0 or next to it."""
    generator = torch.Generator().manual_seed(5)
    prediction, truth = torch.rand(2, 5, 1, 30, 20, generator=generator, dtype=torch.float64)
    truth = 0.6 * truth + 0.4 * prediction**2
    prediction[:, :, 3, :5], truth[:, :, 4, 2:4] = 0.0, 0.0002
    return prediction, truth, torch.rand(5, 1, 30, 20, generator=generator) > 0.2


# ---- in NumPy, from the papers, one image at a time


def fit_with_numpy(p: np.ndarray, d: np.ndarray, suffix: str, floor: float, cap: float) -> np.ndarray:
    """The pixels of one image that count, as vectors."""
    if suffix == MEDIAN_SCALED:
        return p * np.median(d) / np.median(p)
    if suffix == ALIGNED:
        scale, shift = np.polyfit(p, d, 1)
        return scale * p + shift
    if suffix == ALIGNED_DISPARITY:
        known = (p >= floor) & (d >= floor)
        design = np.stack([1 / p[known], np.ones(known.sum())], axis=1)
        (scale, shift), *_ = np.linalg.lstsq(design, 1 / d[known], rcond=None)
        return 1 / np.clip(scale / np.maximum(p, floor) + shift, 1 / cap, 1 / floor)
    return p


def score_with_numpy(p: np.ndarray, d: np.ndarray, floor: float) -> dict[str, float]:
    error, p, d = p - d, np.maximum(p, floor), np.maximum(d, floor)
    ratio = np.maximum(p / d, d / p)
    logs = np.log(p) - np.log(d)
    return {
        "rmse": MAX_DEPTH * np.sqrt((error**2).mean()),
        "mae": MAX_DEPTH * np.abs(error).mean(),
        "abs_rel": (np.abs(p - d) / d).mean(),
        "log10": np.abs(np.log10(p) - np.log10(d)).mean(),
        **{f"delta{n}": (ratio < 1.25**n).mean() for n in (1, 2, 3)},
        "silog": 100 * np.std(logs),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("prefix", PROTOCOLS)
def test_every_protocol_is_what_numpy_makes_of_the_papers(maps, prefix, suffix):
    prediction, truth, valid = maps
    protocol = PROTOCOLS[prefix]
    found = measure(prediction, truth, valid, protocol, MAX_DEPTH)
    low, high = protocol.depth_min, protocol.depth_max
    floor, cap = low or RATIO_FLOOR, high or 1.0
    for b in range(5):
        p, d, counted = prediction[b, 0].numpy(), truth[b, 0].numpy(), valid[b, 0].numpy().copy()
        if protocol.crop is not None:  # 0.25 to 0.9 of 30 rows, whose centres are at a half; 0.1 to 0.8 of 20 columns
            counted[:7], counted[27:], counted[:, :2], counted[:, 16:] = False, False, False, False
            counted[7] &= 7.5 / 30 >= 0.25
        if low is not None:
            counted &= (d > low) & (d < high)
        fitted = fit_with_numpy(p[counted], d[counted], suffix, floor, cap)
        fitted = np.clip(fitted, low, high) if low is not None else fitted
        expected = score_with_numpy(fitted, d[counted], floor)
        for name in [*ERRORS, *(["silog"] if suffix == "" else [])]:
            assert found[f"{prefix}{name}{suffix}"][b].item() == pytest.approx(expected[name], rel=1e-9), name


def test_what_is_restricted_changes_nothing_else(maps):
    plain = measure(*maps)
    for prefix, protocol in PROTOCOLS.items():
        found = measure(*maps, protocol)
        added = {key for key in found if key not in plain}
        assert all(torch.equal(found[key], plain[key]) for key in plain)
        assert all(key.startswith(prefix) for key in added) and bool(added) is bool(prefix)
        assert {split_key("depth", key)[1].prefix for key in added} <= {prefix}


# ---- by hand


def test_median_scaling_by_hand():
    # medians 0.2 and 0.4: 0.1, 0.2, 0.4 become 0.2, 0.4, 0.8; of four values the median is between the middle two
    found = measure(row(0.1, 0.2, 0.4), row(0.2, 0.4, 0.4), depth_max=MAX_DEPTH)
    assert found["abs_rel_median_scaled"].item() == pytest.approx(1 / 3)
    assert found["delta1_median_scaled"].item() == pytest.approx(2 / 3)
    assert found["rmse_median_scaled"].item() == pytest.approx(MAX_DEPTH * math.sqrt(0.16 / 3))
    scaled = scale_to_median(row(0.1, 0.2, 0.4, 0.5), row(0.6, 0.6, 0.6, 0.6), torch.ones(1, 1, 1, 4).bool())
    torch.testing.assert_close(scaled, row(0.2, 0.4, 0.8, 1.0))


def test_a_fit_in_disparity_by_hand():
    # 1 / p is 10, 5, 2 and 1 / d is 5, 2.5, 1: twice as far is a perfect fit
    found = measure(row(0.1, 0.2, 0.5), row(0.2, 0.4, 1.0))
    assert found["rmse_aligned_disparity"].item() == pytest.approx(0, abs=1e-12)
    assert found["delta1_aligned_disparity"].item() == 1 and found["delta1"].item() == 0
    # 1 / p: 1, 2, 4; 1 / d: 4, 2, 1: slope -13 / 14, so 25 / 7, 37 / 14 and 11 / 14, which is beyond the cap
    aligned = align_disparity(row(1.0, 0.5, 0.25), row(0.25, 0.5, 1.0), torch.ones(1, 1, 1, 3).bool())
    torch.testing.assert_close(aligned, row(7 / 25, 14 / 37, 1.0))


def test_scale_and_shift_of_the_disparity_do_not_change_the_score_and_of_the_depth_do(maps):
    _, truth, _ = maps
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prediction = 0.1 + 0.7 * truth + 0.1 * noise
    before, after, other = (measure(p, truth) for p in (prediction, 1 / (0.4 / prediction + 0.9), 0.4 * prediction + 0.1))
    torch.testing.assert_close(after["rmse_aligned_disparity"], before["rmse_aligned_disparity"], rtol=1e-9, atol=0)
    assert not torch.allclose(after["rmse_aligned"], before["rmse_aligned"], rtol=1e-3)
    assert not torch.allclose(other["rmse_aligned_disparity"], before["rmse_aligned_disparity"], rtol=1e-3)


def test_silog_by_hand_and_without_a_scale():
    # the logarithms of the ratios are 0 and ln 2: their standard deviation is ln 2 / 2
    found = measure(row(0.2, 0.4), row(0.2, 0.2))
    assert found["silog"].item() == pytest.approx(100 * math.log(2) / 2)
    assert measure(row(0.1, 0.2), row(0.2, 0.2))["silog"].item() == pytest.approx(100 * math.log(2) / 2)
    assert measure(row(0.1, 0.2), row(0.3, 0.6))["silog"].item() == pytest.approx(0, abs=1e-5)
    assert not {key for key in found if key.startswith("silog_")}, "scaled to the median it would be the same"


@pytest.mark.parametrize("scale", [0.25, 1.1])
def test_silog_boundary_f1_and_median_scaling_do_not_change_with_scale(maps, scale):
    _, truth, valid = maps
    prediction = 0.1 + 0.8 * torch.rand(truth.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before, after = measure(prediction, truth, valid), measure(scale * prediction, truth, valid)
    for name in ("silog", "boundary_f1", *(f"{name}{MEDIAN_SCALED}" for name in ERRORS)):
        torch.testing.assert_close(after[name], before[name], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(after["abs_rel"], before["abs_rel"])


# ---- boundary F1


def count_boundary_f1(p: np.ndarray, d: np.ndarray, skip_empty: bool) -> float:
    """Pixel by pixel; skip_empty: leave out what neither map has, as the published code does not."""
    weighted, weights = 0.0, 0.0
    for t in np.linspace(1.05, 1.25, 10):
        precisions, recalls, num = [], [], 0
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            both = predicted = true = 0
            for i in range(p.shape[0]):
                for j in range(p.shape[1]):
                    k, m = i + down, j + right
                    if 0 <= k < p.shape[0] and 0 <= m < p.shape[1]:
                        in_p, in_d = p[k, m] / p[i, j] > t, d[k, m] / d[i, j] > t
                        both, predicted, true = both + (in_p and in_d), predicted + in_p, true + in_d
            if predicted or true or not skip_empty:
                num += 1
                precisions.append(both / max(predicted, 1))
                recalls.append(both / max(true, 1))
        if not num:
            continue
        precision, recall = np.mean(precisions), np.mean(recalls)
        weights += t
        weighted += t * (2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return weighted / weights


def test_boundary_f1_is_that_of_the_published_code_where_all_directions_have_boundaries():
    rng = np.random.default_rng(0)
    truth = np.kron(rng.uniform(0.2, 1, (5, 4)), np.ones((4, 4)))
    prediction = truth * rng.uniform(0.93, 1.07, truth.shape)
    expected = count_boundary_f1(prediction, truth, skip_empty=False)
    assert 0.3 < expected < 0.99 and expected == count_boundary_f1(prediction, truth, skip_empty=True)
    found = measure(*(torch.from_numpy(values)[None, None] for values in (prediction, truth)))
    assert found["boundary_f1"].item() == pytest.approx(expected, rel=1e-9)


def test_boundary_f1_by_hand():
    truth = row(0.4, 0.4, 0.8, 0.8)  # one edge; only its right side is farther by more than a factor of 1.25
    assert measure(truth, truth)["boundary_f1"].item() == 1, "though no pixel has a boundary upwards"
    assert measure(row(0.4, 0.8, 0.8, 0.8), truth)["boundary_f1"].item() == 0, "one pixel beside is not found"
    # an edge of 1.16 is one at the six lower thresholds alone: 1.05, 1.0722, ... 1.1389 and 1.1611 is above it: five of them
    weak = row(0.4, 0.4, 0.464, 0.464)
    exceeded = [t for t in np.linspace(1.05, 1.25, 10) if t < 1.16]
    assert measure(weak, truth)["boundary_f1"].item() == pytest.approx(sum(exceeded) / sum(THRESHOLDS)) and len(exceeded) == 5
    # a found edge and a false one, in the same direction: precision 1 / 2, recall 1
    assert measure(row(0.4, 0.4, 0.8, 1.6), row(0.4, 0.4, 0.8, 0.8))["boundary_f1"].item() == pytest.approx(2 / 3)


def test_boundaries_beside_unknown_depth_do_not_count_and_an_image_without_any_is_undefined():
    truth, valid = row(0.4, 0.9, 0.4, 0.8), torch.tensor([[[[True, False, True, True]]]])
    assert measure(row(0.4, 0.4, 0.4, 0.8), truth, valid)["boundary_f1"].item() == 1
    flat = torch.full((3, 1, 6, 6), 0.5, dtype=torch.float64)
    assert measure(flat, flat)["boundary_f1"].isnan().all()
    found = measure(flat + torch.rand(flat.shape, generator=torch.Generator().manual_seed(0)), flat)
    assert (found["boundary_f1"] == 0).all(), "what was found where there is nothing is wrong"


def test_boundary_f1_of_an_image_does_not_depend_on_the_others(maps):
    prediction, truth, valid = maps
    floored = [values.clamp_min(RATIO_FLOOR) for values in (prediction, truth)]
    whole, defined = gather_boundary_f1(*floored, valid)
    assert defined.all()
    for b in range(5):
        one = gather_boundary_f1(*(values[b : b + 1] for values in floored), valid[b : b + 1])[0]
        torch.testing.assert_close(one, whole[b : b + 1], rtol=0, atol=0)


# ---- odd predictions and truths


@pytest.mark.parametrize("level", [0.0, 1e-8, RATIO_FLOOR, 0.5, 1.0])
@pytest.mark.parametrize("prefix", PROTOCOLS)
def test_constant_predictions_are_scored_as_what_their_fit_makes_of_them(maps, level, prefix):
    _, truth, valid = maps
    found = measure(torch.full_like(truth, level), truth, valid, PROTOCOLS[prefix])
    assert all(values.isfinite().all() for values in found.values())
    if not prefix:
        means = [truth[b][valid[b]].clamp_min(RATIO_FLOOR) for b in range(5)]
        fitted = [(1 / (1 / mean[mean > RATIO_FLOOR]).mean()).item() for mean in means]
        if level >= RATIO_FLOOR:
            expected = [(fitted[b] - truth[b][valid[b]]).abs().mean().item() for b in range(5)]
            assert found["mae_aligned_disparity"].tolist() == pytest.approx(expected, rel=1e-6)
        if level > 0:
            expected = [(truth[b][valid[b]].median() - truth[b][valid[b]]).abs().mean().item() for b in range(5)]
            assert found["mae_median_scaled"].tolist() == pytest.approx(expected, rel=0.02)
        else:
            assert (found["delta3_median_scaled"] < 0.05).all(), "no factor makes it better"


def test_predictions_of_no_depth_do_not_spoil_the_fit_of_the_other_pixels():
    truth = torch.linspace(0.2, 0.9, 100, dtype=torch.float64).reshape(1, 1, 10, 10)
    for wrong in (0.0, -0.3, 1e-12):
        prediction = 0.5 * truth
        prediction[..., 4, 4] = wrong
        found = measure(prediction, truth)
        assert found["delta1_aligned_disparity"].item() == pytest.approx(0.99), "all but that one"
        assert found["delta1_median_scaled"].item() >= 0.98
    found = measure(torch.full_like(truth, -1.0), truth)
    assert all(values.isfinite().all() for values in found.values())


def test_a_true_depth_of_zero_is_neither_infinite_nor_fitted():
    truth = torch.linspace(0.2, 0.9, 100, dtype=torch.float64).reshape(1, 1, 10, 10)
    prediction = 0.5 * truth
    truth[..., 3, 3] = 0.0
    found = measure(prediction, truth)
    assert all(values.isfinite().all() for values in found.values())
    assert found["delta1_aligned_disparity"].item() == found["delta1_median_scaled"].item() == pytest.approx(0.99)
    nothing = torch.zeros_like(truth)
    for prediction in (nothing, truth, nothing + 0.5):
        assert all(v.isfinite().all() for key, v in measure(prediction, nothing).items() if key != "boundary_f1")
    one = torch.zeros_like(truth).bool()
    one[..., 0, 5] = True
    found = measure(truth, 0.5 + 0.1 * truth, one)
    assert found["rmse_aligned_disparity"].item() == pytest.approx(0, abs=1e-9)
    assert found["rmse_median_scaled"].item() == pytest.approx(0, abs=1e-9)


def test_an_image_without_depth_is_undefined_in_every_protocol(maps):
    prediction, truth, valid = maps
    valid[2] = False
    truth = torch.where(valid, truth, torch.nan)
    for protocol in PROTOCOLS.values():
        for key, values in measure(prediction, truth, valid, protocol).items():
            assert values.isnan().tolist() == [False, False, True, False, False], key


# ---- caps and crop


def test_depths_at_the_caps_do_not_count_and_predictions_beyond_them_are_clipped():
    caps = DepthProtocol(depth_min=0.1, depth_max=0.5)
    # 0.1, 0.5 and 0.7 do not count; of 0.2 and 0.4 the predictions become 0.1 and 0.5
    found = measure(row(0.9, 0.05, 0.7, 0.0, 0.0), row(0.1, 0.2, 0.4, 0.5, 0.7), protocol=caps, depth_max=MAX_DEPTH)
    assert found["capped_mae"].item() == pytest.approx(MAX_DEPTH * 0.1)
    assert found["capped_abs_rel"].item() == pytest.approx((0.5 + 0.25) / 2)
    with_one = measure(row(0.9, 0.05), row(0.3, 0.2), protocol=DepthProtocol(depth_max=0.25))
    assert with_one["capped_mae"].item() == pytest.approx(0.15)


def test_the_eigen_crop_of_nyu_s_own_frames():
    stretched = make_eigen_window("stretch").mark(480, 640)
    expected = torch.zeros(480, 640).bool()
    expected[45:471, 41:601] = True
    assert torch.equal(stretched, expected)
    square = make_eigen_window("crop").mark(480, 480)
    assert torch.equal(square, expected[:, 80:560]) and square[45:471].all(), "the centre square is within the columns"


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("scale", [1, 2, 0.5])
@pytest.mark.parametrize("size_px", [224, 64, 160])
def test_the_eigen_crop_of_a_test_image_holds_the_depths_read_from_inside_it(fit, scale, size_px):
    inside = np.zeros((480, 640), np.float32)
    inside[45:471, 41:601] = 1
    if scale == 2:
        inside = np.kron(inside, np.ones((2, 2), np.float32))
    elif scale == 0.5:
        inside = inside[::2, ::2]
    picked = fit_values(inside, size_px, fit) > 0
    marked = make_eigen_window(fit).mark(size_px, size_px).numpy()
    assert (picked != marked).sum() <= (0 if scale != 0.5 else 4 * size_px), "halving the frame halves odd bounds"
    assert marked[size_px // 2, size_px // 2] and not marked[0, size_px // 2] and not marked[-1, size_px // 2]


def make_photos(folder, *sizes):
    """A downloaded source of photos, each with its depth."""
    for name in ("images", "depth"):
        (folder / name).mkdir(parents=True)
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"images/p{number}.png")
        Image.new("L", size, 9).save(folder / f"depth/p{number}.png")
    return folder


@pytest.fixture
def declare(params):
    def write(folder, source: str):
        download = params.download.model_copy(update={"source": source, "path": str(folder), "more_sources": {}})
        values = {key: value for key, value in download.model_dump().items() if key != "more_sources"}
        record = {"source": source, "download": values, "sha256": "", "warnings": [], "skipped": [], "num_files": 0}
        write_json(folder / "source.json", record)
        return folder

    return write


def test_frames_of_another_shape_have_no_eigen_crop(tmp_path, declare, params):
    fine = declare(make_photos(tmp_path / "fine", (640, 480), (320, 240), (561, 421)), "image_mask_depth")
    require_nyu_frames([fine], params.compose)
    wide = declare(make_photos(tmp_path / "wide", (640, 480), (640, 360)), "image_mask_depth")
    with pytest.raises(
        UserError, match=r"evaluate\.depth_crop: eigen is for frames of 640 x 480.*p1\.png has 640 x 360; set it to"
    ):
        require_nyu_frames([fine, wide], params.compose)


def test_backgrounds_of_which_a_narrower_view_is_cut_out_have_no_eigen_crop(raw, params):
    stretched = params.compose.model_copy(update={"fit": "stretch", "field_of_view_deg": None})
    with pytest.raises(UserError, match="eigen is for"):
        narrow = params.compose.model_copy(update={"field_of_view_deg": 5.0})
        require_nyu_frames([raw], narrow)
    try:
        require_nyu_frames([raw], stretched)
    except UserError as error:
        assert "at any size, but" in error.message


# ---- from params to metrics.json


SIZE_PX = 24


def make_batch(num: int, depth: np.ndarray | None = None, **more) -> ByteBatch:
    batch = ByteBatch.allocate(num, SIZE_PX, SIZE_PX, with_background=False)
    rng = np.random.default_rng(4)
    batch.image[...], batch.mask[...], batch.valid[...] = 90, 0, True
    batch.mask[:, 4:12, 4:12] = 255
    batch.depth[...] = 0.2 + 0.7 * rng.random(batch.depth.shape, dtype=np.float32) if depth is None else depth
    batch.origins[:] = [Origin(f"p{b}", f"p{b}") for b in range(num)]
    return ByteBatch(**{**vars(batch), **more})


def guess(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    down = torch.linspace(0.9, 0.2, SIZE_PX)[None, None, :, None].expand_as(image[:, :1])
    return PredictedMaps(torch.full_like(image[:, :1], 0.7), down)


def evaluate(batch: ByteBatch, protocol: DepthProtocol) -> tuple:
    scores = score_samples(guess, [batch], make_baselines([batch]), MAX_DEPTH, protocol=protocol)
    test = make_metrics(scores)["test"]
    json.dumps(test, allow_nan=False)
    return test, scores


def make_depth(**changes) -> DepthParams:
    values = {"unit": "metre", "polarity": "near_is_small", "max": MAX_DEPTH, "raw_max": 10000, "raw_unknown": 0}
    return DepthParams(**values | changes)


def test_a_lower_cap_is_below_the_upper_one(params):
    values = params.model_dump()
    values["evaluate"] |= {"depth_min": 5.0, "depth_max": 5.0}
    with pytest.raises(UserError, match=r"evaluate\.depth_min: 5; allowed: below depth_max: 5"):
        make_params(values)
    values["evaluate"]["depth_max"] = 20.0
    assert make_params(values).evaluate.depth_max == 20


def test_protocols_of_params(params):
    scored = params.evaluate.model_copy(update={"depth_min": 0.001, "depth_max": 8.0, "depth_crop": "eigen"})
    protocol = make_protocol(make_depth(), scored, "stretch")
    assert (protocol.depth_min, protocol.depth_max) == (0.0001, 0.8) and protocol.crop == make_eigen_window("stretch")
    assert protocol.prefix == CAPPED_EIGEN and describe_caps(protocol, MAX_DEPTH) == {"depth_min": 0.001, "depth_max": 8.0}
    assert make_protocol(make_depth(), params.evaluate) == PLAIN_PROTOCOL, "by default nothing is restricted"
    assert describe_caps(PLAIN_PROTOCOL, MAX_DEPTH) == {}
    near_is_large = make_depth(unit="relative", polarity="near_is_large")
    assert [make_protocol(depth).has_ratios for depth in (make_depth(), make_depth(unit="relative"), near_is_large)] == [
        True,
        True,
        False,
    ]
    assert make_protocol(make_depth(polarity="near_is_large")).has_ratios, "metres are metres"


@pytest.mark.parametrize("prefix", PROTOCOLS)
def test_keys_say_which_protocol_and_nothing_else_appears(prefix):
    test, scores = evaluate(make_batch(3), PROTOCOLS[prefix])
    assert NOT_SCORED not in test and all(value is not None for value in test["depth"].values())
    expected = {f"{prefix}{name}{suffix}" for name in ERRORS for suffix in SUFFIXES} | {f"{prefix}silog"}
    assert expected <= set(test["depth"])
    restricted = {key for key in test["depth"] if key.startswith((CAPPED, EIGEN))}
    assert restricted == (expected if prefix else set())
    assert expected <= set(test["baselines"]["depth_row_mean"])
    columns, rows = make_rows(scores)
    assert {f"depth_{key}" for key in expected} <= set(columns) and all(rows[0][f"depth_{key}"] != "" for key in expected)
    assert "." not in "".join(test["depth"]), "a dot would nest"


def test_a_relative_source_whose_values_grow_with_the_inverse_has_no_ratios():
    test, _ = evaluate(make_batch(3), DepthProtocol(has_ratios=False, depth_min=0.1))
    missing = {key.removeprefix("depth.") for key, reason in test[NOT_SCORED].items() if reason == NO_RATIOS}
    assert (
        missing
        == {key for key in test["depth"] if test["depth"][key] is None}
        == {
            f"{prefix}{name}"
            for prefix in ("", CAPPED)
            for name in ("silog", *(f"{error}{suffix}" for error in ERRORS for suffix in (MEDIAN_SCALED, ALIGNED_DISPARITY)))
        }
        | {"fg_silog", "boundary_f1"}
    )
    assert test["depth"]["delta1_aligned"] is not None and test["depth"]["delta1"] is not None


def test_relative_depth_beside_the_model_s_own_has_no_score_in_any_protocol():
    batch = make_batch(2, relation=np.array([1, 2], np.uint8), relative=np.ones((2, SIZE_PX, SIZE_PX), bool))
    batch.valid[...] = False
    test, _ = evaluate(batch, PROTOCOLS[CAPPED_EIGEN])
    assert set(test["depth"].values()) == {None}
    assert {reason for key, reason in test[NOT_SCORED].items() if key.startswith("depth.")} == {RELATIVE_DEPTH}
    batch = make_batch(2)
    batch.valid[...] = False
    assert evaluate(batch, PLAIN_PROTOCOL)[0][NOT_SCORED]["depth.rmse_median_scaled"] == NO_DEPTH


def test_what_no_image_has_is_named():
    test, _ = evaluate(make_batch(2), DepthProtocol(depth_max=0.1))
    assert test[NOT_SCORED]["depth.capped_rmse"] == test[NOT_SCORED]["depth.capped_delta1_aligned"] == NO_DEPTH_INSIDE
    assert test["depth"]["capped_silog"] is None and test["depth"]["silog"] is not None
    flat = lambda image, background: PredictedMaps(*(torch.full_like(image[:, :1], 0.5) for _ in range(2)))  # noqa: E731
    batch = make_batch(2, depth=np.float32(0.5))
    test = make_metrics(score_samples(flat, [batch], [], MAX_DEPTH))["test"]
    assert test["depth"]["boundary_f1"] is None and test[NOT_SCORED]["depth.boundary_f1"] == NO_BOUNDARY
    assert test["depth"]["silog"] == 0


def test_columns_are_described_by_score_and_protocol():
    assert describe_column("depth_delta1_aligned_disparity")[0] == "δ < 1.25, aligned in disparity"
    assert (
        describe_column("depth_capped_eigen_rmse_median_scaled")[0] == "RMSE, within the caps, in the Eigen crop, median-scaled"
    )
    assert describe_column("depth_fg_silog")[0] == "SILog, in the foreground"
    for column in ("depth_median_scaled", "depth_capped_", "depth_rmse_", "depth_capped_capped_rmse", "mask_iou_low"):
        assert describe_column(column) is None
    keys = [f"{v.prefix}{spec.name}{v.suffix}" for v in VARIANTS["depth"] for spec in list_scores("depth")]
    assert len(keys) == len(set(keys)) and all(split_key("depth", key) is not None for key in keys)
