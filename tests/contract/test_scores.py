"""Every score of the registry: better for a better prediction, independent of batches, and described for the page."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from depthmask.metrics import Thresholds, gather, join_batches, score
from depthmask.scores import SCORES, Prominence, list_scores

CASES = [pytest.param(spec, id=spec.column) for spec in SCORES.values()]
SIZE_PX, MAX_DEPTH = 24, 20.0


def _make_maps(num: int) -> tuple[SimpleNamespace, torch.Tensor, torch.Tensor]:
    """A truth, and a prediction of mask and depth that is not right."""
    generator = torch.Generator().manual_seed(0)
    mask, depth, mask_prob, wrong = (torch.rand(num, 1, SIZE_PX, SIZE_PX, generator=generator) for _ in range(4))
    truth = SimpleNamespace(mask_B1HW=(mask > 0.6).float(), depth_B1HW=0.1 + 0.9 * depth, valid_B1HW=mask < 0.9)
    return truth, mask_prob, wrong


def _score(truth: SimpleNamespace, mask_prob: torch.Tensor, depth: torch.Tensor, spec) -> torch.Tensor:
    return score(gather(mask_prob, depth, truth, thresholds=Thresholds(0.5, 0.5)), MAX_DEPTH)[spec.family][spec.name]


@pytest.mark.parametrize("spec", CASES)
def test_the_truth_scores_better_than_a_wrong_prediction(spec):
    truth, mask_prob, depth = _make_maps(3)
    right, wrong = _score(truth, truth.mask_B1HW, truth.depth_B1HW, spec), _score(truth, mask_prob, depth, spec)
    assert (right > wrong if spec.higher_is_better else right < wrong).all()


@pytest.mark.parametrize("spec", CASES)
def test_batches_do_not_change_it(spec):
    truth, mask_prob, depth = _make_maps(4)
    whole = _score(truth, mask_prob, depth, spec)
    assert whole.shape == (4,) and whole.dtype == torch.float64
    parts = []
    for index in range(4):
        part = SimpleNamespace(**{name: maps[index : index + 1] for name, maps in vars(truth).items()})
        statistics = gather(mask_prob[index : index + 1], depth[index : index + 1], part, thresholds=Thresholds(0.5, 0.5))
        parts.append(statistics[spec.family])
    joined = score({spec.family: join_batches(parts)}, MAX_DEPTH)[spec.family][spec.name]
    torch.testing.assert_close(joined, whole, rtol=0, atol=0)


@pytest.mark.parametrize("spec", CASES)
def test_it_is_described(spec):
    assert spec.label and spec.meaning and spec.ascii_label.isascii()
    assert spec.prominence < Prominence.PRIMARY or spec.higher_is_better


def test_each_task_has_one_primary_score_and_no_two_share_a_column():
    assert [spec.family for spec in list_scores(at_least=Prominence.PRIMARY)] == ["mask", "depth"]
    assert Counter(spec.column for spec in SCORES.values()).most_common(1)[0][1] == 1


def test_the_most_prominent_of_a_family_come_first():
    assert [spec.name for spec in list_scores("depth", at_least=Prominence.TABLE)] == ["delta1", "abs_rel", "rmse"]
    for family in ("mask", "depth", "published"):
        levels = [spec.prominence for spec in list_scores(family)]
        assert levels == sorted(levels, reverse=True)
