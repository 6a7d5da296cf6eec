"""Losses, scores and files where the truth is partly unknown, or there is nothing to score."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depthmask.base.terminal import make_console
from depthmask.data.batch import Batch, ByteBatch
from depthmask.data.sample import Origin
from depthmask.evaluation.baselines import make_baselines
from depthmask.evaluation.not_scored import NO_DEPTH, NO_FOREGROUND, NO_FOREGROUND_DEPTH, NO_MASK, NOTHING_ABOVE_CUT
from depthmask.evaluation.sample_pictures import paint_prediction, paint_truth
from depthmask.evaluation.score import describe_sample, make_metrics, make_rows, score_samples, separate_baselines
from depthmask.evaluation.scores_table import print_scores
from depthmask.evaluation.shown_samples import choose_samples
from depthmask.export.release import write_model_card
from depthmask.losses import weigh_losses
from depthmask.metrics import Thresholds
from depthmask.models.inference import PredictedMaps
from depthmask.models.model_card import REASONS, Release
from depthmask.models.prediction import Prediction
from depthmask.params import LossParams
from depthmask.pictures.colours import UNKNOWN
from depthmask.registry.losses import LOSSES
from depthmask.scores import NOT_SCORED, SCORES, ScoreSpec
from depthmask.training.distributed import make_fabric
from depthmask.training.objective import Objective, validate

SIZE_PX, MAX_DEPTH, LEVELS = 40, 10.0, 5
MASK_TERMS = [term for term in LOSSES if term.task == "mask"]


def make_batch(masks: list[bool], depths: list[bool], foreground: bool = True, depth: float = 0.4) -> ByteBatch:
    """A sample for each pair: whether its mask and its depth are known."""
    batch = ByteBatch.allocate(len(masks), SIZE_PX, SIZE_PX, with_background=False)
    rng = np.random.default_rng(0)
    batch.image[...] = rng.integers(0, 256, batch.image.shape)
    batch.mask[...] = 0
    for b, (mask, is_known) in enumerate(zip(masks, depths, strict=True)):
        batch.mask_known[b] = mask
        if mask and foreground:
            batch.mask[b, 5 : 20 + b, 8:24] = 255
        batch.valid[b] = is_known
        batch.depth[b] = depth * (1 + rng.random((SIZE_PX, SIZE_PX))) / 2 if is_known else 0
        batch.origins[b] = Origin(f"p{b}", f"p{b}")
    return batch


def take(batch: Batch, places: list[int]) -> Batch:
    chosen = {name: values[places] for name, values in vars(batch).items() if values is not None}
    return replace(batch, **chosen)


def make_prediction(num: int) -> Prediction:
    """Made of leaves, so that each has a gradient of its own."""
    generator = torch.Generator().manual_seed(1)
    logits, depth = (torch.randn(num, 1, SIZE_PX, SIZE_PX, generator=generator) for _ in range(2))
    bins = torch.randn(num, LEVELS, SIZE_PX, SIZE_PX, generator=generator)
    maps = {"mask_logits_B1HW": logits, "depth_B1HW": depth.sigmoid(), "depth_bins_BKHW": bins}
    return Prediction(**{name: values.requires_grad_() for name, values in maps.items()})


def weigh(term) -> LossParams:
    return LossParams(
        mask={term.name: 1.0} if term.task == "mask" else {},
        depth={term.name: 1.0} if term.task == "depth" else {},
        foreground=1.0,
        scale=1.0,
        balance=None,
    )


def of_term(term, prediction: Prediction, batch: Batch) -> torch.Tensor:
    return weigh_losses(prediction, batch, weigh(term), tasks=(term.task,))[0]


@pytest.mark.parametrize("term", list(LOSSES), ids=lambda term: term.column)
def test_a_batch_without_the_truth_of_a_task_costs_nothing_and_moves_nothing(term):
    unknown = [False, False]
    known = [True, True]
    batch = make_batch(*((unknown, known) if term.task == "mask" else (known, unknown))).to("cpu")
    prediction = make_prediction(2)
    loss = of_term(term, prediction, batch)
    assert loss.item() == 0
    loss.backward()
    for values in prediction:
        if isinstance(values, torch.Tensor) and values.grad is not None:
            assert (values.grad == 0).all()


@pytest.mark.parametrize("term", MASK_TERMS, ids=lambda term: term.column)
def test_images_without_a_mask_change_neither_loss_nor_gradient_of_the_others(term):
    batch, known = make_batch([True, False, True, False], [True] * 4).to("cpu"), [0, 2]
    whole, alone = make_prediction(4), make_prediction(4)
    for prediction in (whole, alone):  # not quite wrong, or MS-SSIM has no gradient
        prediction.mask_logits_B1HW.data += 4 * batch.mask_B1HW - 2
    of_term(term, whole, batch).backward()
    few = Prediction(mask_logits_B1HW=alone.mask_logits_B1HW[known], depth_B1HW=alone.depth_B1HW[known])
    expected = of_term(term, few, take(batch, known))
    expected.backward()
    torch.testing.assert_close(of_term(term, whole, batch), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(whole.mask_logits_B1HW.grad, alone.mask_logits_B1HW.grad, rtol=1e-4, atol=1e-8)
    assert (whole.mask_logits_B1HW.grad[1] == 0).all() and (whole.mask_logits_B1HW.grad[known] != 0).any()


@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_images_without_depth_do_not_dilute_ssim(name):
    term = next(term for term in LOSSES if term == ("depth", name))
    batch, prediction = make_batch([True] * 3, [True, False, True]).to("cpu"), make_prediction(3)
    few = Prediction(depth_B1HW=prediction.depth_B1HW[[0, 2]], mask_logits_B1HW=prediction.mask_logits_B1HW[[0, 2]])
    expected = of_term(term, few, take(batch, [0, 2]))
    torch.testing.assert_close(of_term(term, prediction, batch), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("term", MASK_TERMS, ids=lambda term: term.column)
def test_where_all_is_known_the_flags_change_no_bit(term):
    batch, prediction = make_batch([True] * 16, [True] * 16).to("cpu"), make_prediction(16)
    assert of_term(term, prediction, batch) == of_term(term, prediction, replace(batch, mask_known_B=None))
    if term.name in ("dice", "dice_squared"):  # as the mean over all images, which they were defined by
        prob, truth = torch.sigmoid(prediction.mask_logits_B1HW), batch.mask_B1HW
        power = 2 if term.name == "dice_squared" else 1
        overlap, predicted, true = (v.sum(dim=(1, 2, 3)) for v in (prob * truth, prob**power, truth**power))
        assert of_term(term, prediction, batch) == (1 - (2 * overlap + 1) / (predicted + true + 1)).mean()


class Guess(torch.nn.Module):
    """Says half foreground and half depth everywhere, at any image."""

    def forward(self, image_B3HW, background_B3HW=None):
        nothing = image_B3HW[:, :1] * 0
        return Prediction(mask_logits_B1HW=nothing + 0.3, depth_B1HW=nothing + 0.5)


OBJECTIVE = Objective(
    LossParams(mask={"l1": 1.0, "dice": 1.0}, depth={"l1": 1.0}, foreground=1.0, scale=1.0, balance=None), ("mask", "depth"), 1
)


def test_validation_weighs_a_term_by_the_images_that_have_its_truth(params):
    fabric = make_fabric(params.compute.model_copy(update={"device": "cpu", "precision": "float32"}))
    batches = [make_batch([True, True, True], [True] * 3), make_batch([False, False, True], [True] * 3)]
    values = validate(Guess(), batches, OBJECTIVE, fabric)
    each = [validate(Guess(), [batch], OBJECTIVE, fabric) for batch in batches]
    assert values["mask_dice"] == pytest.approx((3 * each[0]["mask_dice"] + 1 * each[1]["mask_dice"]) / 4)
    assert values["depth_l1"] == pytest.approx((each[0]["depth_l1"] + each[1]["depth_l1"]) / 2)
    assert values["loss"] == pytest.approx((each[0]["loss"] + each[1]["loss"]) / 2)
    assert values["mask_iou"] == pytest.approx((3 * each[0]["mask_iou"] + each[1]["mask_iou"]) / 4)


def test_validation_without_any_truth_is_unknown_and_not_perfect(params):
    fabric = make_fabric(params.compute.model_copy(update={"device": "cpu", "precision": "float32"}))
    batch = make_batch([False, False], [True, True])
    values = validate(Guess(), [batch], OBJECTIVE, fabric)
    assert math.isnan(values["mask_dice"]) and math.isnan(values["mask_iou"]) and values["loss"] == values["depth_l1"] > 0
    of_mask = replace(OBJECTIVE, tasks=("mask",))
    assert math.isnan(validate(Guess(), [batch], of_mask, fabric)["loss"])


def test_validation_of_masks_without_foreground_is_unknown(params):
    """As of a test set: Guess finds foreground everywhere, a network that finds none would be perfect."""
    fabric = make_fabric(params.compute.model_copy(update={"device": "cpu", "precision": "float32"}))
    empty, other = (make_batch(known, [True, True]) for known in ([True, True], [False, True]))
    empty.mask[:] = 0
    values = validate(Guess(), [empty], OBJECTIVE, fabric)
    assert math.isnan(values["mask_iou"]) and values["depth_delta1"] >= 0 and values["loss"] > 0
    assert validate(Guess(), [empty, other], OBJECTIVE, fabric)["mask_iou"] > 0
    other.mask[1] = 0
    assert math.isnan(validate(Guess(), [empty, other], OBJECTIVE, fabric)["mask_iou"]), (
        "the foreground of an unknown mask is none"
    )


def predict_nothing(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    return PredictedMaps(torch.zeros_like(image[:, :1]), torch.full_like(image[:, :1], 0.3))


def predict_a_corner(image: torch.Tensor, background: torch.Tensor | None) -> PredictedMaps:
    maps = predict_nothing(image, background)
    maps.mask_prob_B1HW[..., :10, :10] = 1
    return maps


def score(batch: ByteBatch, predict=predict_nothing) -> tuple:
    baselines = make_baselines([batch])
    scores = score_samples(predict, [batch], baselines, MAX_DEPTH, Thresholds(0.3, 0.3))
    return scores, make_metrics(scores)


@pytest.mark.parametrize("predict", [predict_nothing, predict_a_corner])
def test_a_set_without_foreground_has_no_mask_score_and_says_why(predict):
    scores, metrics = score(make_batch([True] * 3, [True] * 3, foreground=False), predict)
    test = metrics["test"]
    assert set(test["mask"].values()) == {None}
    assert {value for name, value in test["published"].items() if name.startswith("mask_")} == {None}
    assert test[NOT_SCORED]["mask.iou"] == test[NOT_SCORED]["mask.mae"] == test[NOT_SCORED]["published.mask_mse"] == NO_FOREGROUND
    assert test["depth"]["rmse"] is not None and test["depth"]["fg_rmse"] is None
    assert test[NOT_SCORED]["depth.fg_rmse"] == NO_FOREGROUND_DEPTH
    assert test["num_images_with_foreground"] == 0 and "num_images_with_mask" not in test
    assert {value for name in ("mask_empty", "mask_mean") for value in test["baselines"][name].values()} == {None}
    assert "1.000" not in draw(metrics) and NO_FOREGROUND in draw(metrics)
    json.dumps(metrics, allow_nan=False)
    _, rows = make_rows(scores)
    assert {row["mask_iou"] for row in rows} == ({""} if predict is predict_nothing else {0.0})
    if predict is predict_nothing:
        assert choose_samples(scores, 2)["best_mask"] == []


def test_a_set_without_masks_or_without_depth_says_so():
    test = score(make_batch([False] * 3, [True] * 3))[1]["test"]
    assert test[NOT_SCORED]["mask.iou"] == NO_MASK and test["num_images_with_mask"] == 0 and test["num_images_with_depth"] == 3
    test = score(make_batch([True] * 3, [False] * 3))[1]["test"]
    assert (
        test["mask"]["iou"] == 0 and test[NOT_SCORED]["depth.rmse"] == test[NOT_SCORED]["published.depth_dice_loss"] == NO_DEPTH
    )
    assert set(test["depth"].values()) == {None}


def test_a_score_with_sums_of_its_own_need_not_look_for_unknown_masks(monkeypatch):
    spec = ScoreSpec("mask", "spread", "spread", "", True, module="spread", own_sums=True, pooled=True)
    module = SimpleNamespace(
        gather_spread=lambda mask_prob, depth, truth: {
            "part": mask_prob.sum(dim=(1, 2, 3)),
            "whole": truth.mask_B1HW.sum(dim=(1, 2, 3)) + 1,
        },
        spread=lambda sums: sums["part"] / sums["whole"],
    )
    monkeypatch.setitem(sys.modules, "depthmask.metrics.spread", module)
    monkeypatch.setitem(SCORES, ("mask", "spread"), spec)
    batch = make_batch([True, False, True], [True] * 3)
    values = score(batch, predict_a_corner)[0].scores["mask"]["spread"].tolist()
    sizes = (batch.mask == 255).sum(axis=(1, 2)) + 1
    assert values == pytest.approx([100 / sizes[0], math.nan, 100 / sizes[2]], nan_ok=True)
    summary = score(batch, predict_a_corner)[0].summary["mask"]
    assert summary["spread_pooled"] == pytest.approx(200 / (sizes[0] + sizes[2]))


def test_an_iou_of_depth_needs_depth_above_the_cut():
    test = score(make_batch([True] * 2, [True] * 2, depth=0.4))[1]["test"]
    assert test["published"]["depth_iou"] is None and test[NOT_SCORED]["published.depth_iou"] == NOTHING_ABOVE_CUT
    assert test["published"]["depth_dice_loss"] is not None
    assert score(make_batch([True] * 2, [True] * 2, depth=0.9))[1]["test"]["published"]["depth_iou"] is not None


def test_scores_are_over_the_images_that_have_the_truth_and_their_number_is_recorded():
    batch = make_batch([True, False, True, False], [True, True, False, False], depth=0.9)
    scores, metrics = score(batch, predict_a_corner)
    test = metrics["test"]
    of_masks = score(make_batch([True, True, True], [True] * 3), predict_a_corner)  # other sizes of foreground: b decides
    expected = [float(of_masks[0].scores["mask"]["iou"][b]) for b in (0, 2)]
    assert expected[0] != expected[1] and test["mask"]["iou"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert test["num_images"] == 4 and test["num_images_with_mask"] == test["num_images_with_depth"] == 2
    assert test["num_scored"]["mask.iou"] == test["num_scored"]["depth.rmse"] == 2 and test["num_scored"]["depth.fg_rmse"] == 1
    assert NOT_SCORED not in test
    assert "mean over 2 of 4 images" in draw(metrics)
    rows = make_rows(scores)[1]
    assert [row["mask_fraction"] == "" for row in rows] == [row["mask_iou"] == "" for row in rows] == [False, True, False, True]


def test_a_set_of_which_all_is_known_says_nothing_more_than_before():
    test = score(make_batch([True] * 3, [True] * 3, depth=0.9))[1]["test"]
    assert list(test) == ["mask", "depth", "published", "num_images", "num_images_with_depth", "baselines"]


def draw(metrics) -> str:
    text = io.StringIO()
    print_scores(metrics, "metre", make_console(stderr=False, file=text, width=200))
    return text.getvalue()


def test_the_mean_mask_is_of_the_known_ones():
    batch = make_batch([True, False, True], [True] * 3)
    known = np.stack([batch.read_alpha(b) for b in (0, 2)]).mean(axis=0)
    mean = next(b.values_11HW[0, 0] for b in make_baselines([batch]) if b.name == "mask_mean")
    np.testing.assert_allclose(mean.numpy(), known, atol=1e-7)


def test_an_unknown_mask_is_drawn_as_unknown():
    batch = make_batch([False, True], [True, True])
    shown = paint_prediction(batch, 0, np.zeros((SIZE_PX, SIZE_PX)), batch.depth[0])
    assert (shown["mask"] == UNKNOWN).all() and (shown["mask_difference"] == UNKNOWN).all()
    assert (paint_truth(batch, 0)["mask"] == UNKNOWN).all() and not (paint_truth(batch, 1)["mask"] == UNKNOWN).all()
    assert describe_sample(batch, 0, MAX_DEPTH)["mask_fraction"] == describe_sample(batch, 0, MAX_DEPTH)["foreground_x"] == ""


def test_a_model_card_shows_a_dash_and_the_reason(monkeypatch):
    own, beside = separate_baselines(score(make_batch([True] * 3, [True] * 3, foreground=False))[1])
    release = {"scores": own["test"], "baselines": beside["test"], "depthmask": "1"}
    Release.model_validate(release)
    assert REASONS == NOT_SCORED
    monkeypatch.setattr("depthmask.export.release.count_parameters", lambda model: 1)
    monkeypatch.setattr("depthmask.export.release.asdict", vars)
    card = SimpleNamespace(
        settings={"background_input": False}, image_size_px=32, depth_max=1.0, depth_unit="metre", epochs=1, init=None,
        image_mean=(0, 0, 0), image_std=(1, 1, 1), encoder=None,
    )  # fmt: skip
    text = write_model_card(SimpleNamespace(card=card, name="compact"), release)
    assert "| mask IoU | higher is better | – |" in text and f"mask IoU, mask Dice: – not scored, {NO_FOREGROUND}" in text


@pytest.mark.parametrize("texts", [{"mask": {"iou": "much"}}, {"num_scored": {"mask.iou": "all"}}])
def test_a_card_with_texts_in_place_of_numbers_is_refused(texts):
    with pytest.raises(ValueError, match="texts instead of numbers"):
        Release.model_validate({"scores": texts})
