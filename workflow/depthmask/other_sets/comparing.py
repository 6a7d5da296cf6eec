"""How the depth of another data set is compared with the model's, as their declarations decide.

A depth is known in metres, or up to a scale and a shift of each image (relative, near_is_small), or up to those of its inverse
(relative, near_is_large, as depth networks predict it). With p the prediction and t the truth:

    set            model          compared                                             scored
    metres         metres         p with t in the model's scale, in full               everything
    near_is_small  metres         p with t                                             ..._aligned
    near_is_large  metres         1 / p with the inverse depth that t has              ..._aligned, but no ratios
    metres         near_is_small  p with t                                             ..._aligned
    metres         near_is_large  the inverse depth that p has with 1 / t              ..._aligned_disparity
    relative       relative       p with t, if both have the same polarity             ..._aligned; near_is_large: but no ratios
    relative       relative       nothing, if not                                      nothing

Truth beyond the model's maximum counts in full: the model cannot predict it, and that is an error. Metres at the set's own
maximum are left out: the source clips to it what is farther, so that they are only known to be at least that far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from depthmask.data.batch import ByteBatch
from depthmask.evaluation.baselines import Baseline
from depthmask.evaluation.depth_protocol import make_protocol
from depthmask.evaluation.shown_samples import Align
from depthmask.metrics.alignment import align_disparity, align_scale_shift
from depthmask.metrics.protocol import DepthProtocol
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.params import DepthParams, EvaluateParams
from depthmask.params.other_sets import find_fault_of_comparison
from depthmask.scores import ALIGNED, ALIGNED_DISPARITY

INVERSE_FLOOR = 1e-3  # of the maximum: a smaller depth, or a smaller inverse depth, is taken for this one
NO_RATIOS = ("rmse", "mae", "ssim")  # the scores that compare differences alone

Map = Callable[[Tensor], Tensor]
Scored = Literal["all", "aligned", "aligned without ratios", "aligned in disparity", "nothing"]
SUFFIXES: dict[Scored, str] = {
    "aligned": ALIGNED,
    "aligned without ratios": ALIGNED,
    "aligned in disparity": ALIGNED_DISPARITY,
}


@dataclass(frozen=True)
class Comparison:
    """scale: in whose unit and maximum scores are; what depth 1 stands for. factor: from the set's maximum to that of `scale`.

    has_end: whether depth at the set's maximum is only known to be at least that far. map_prediction: what is done to the
    prediction. scored: which depth scores say something. reason: why not all do.
    """

    scale: DepthParams
    factor: float
    has_end: bool
    map_prediction: Map
    scored: Scored
    reason: str = ""

    @property
    def align(self) -> Align | None:
        """Fits predictions to the truth, as the scores do; None if they are compared as they are."""
        if self.scored == "aligned in disparity":
            return align_disparity
        return None if self.scored in ("all", "nothing") else align_scale_shift

    def make_protocol(self, evaluate: EvaluateParams, fit: str, has_nyu_frames: bool) -> DepthProtocol:
        """The protocol of the depth scores: with the caps and the crop of `evaluate` where depths are compared as they are.

        has_nyu_frames: whether the set has the shape for which the crop is defined. fit: as in `compose.fitting`.
        """
        if self.scored == "all":
            cropped = evaluate if has_nyu_frames else evaluate.model_copy(update={"depth_crop": None})
            return make_protocol(self.scale, cropped, fit)
        return DepthProtocol(has_ratios=self.scored != "aligned without ratios")

    def convert_truth(self, batch: ByteBatch) -> None:
        """Bring true depths to the scale of the scores, in place: they may be above 1. What is not known becomes invalid."""
        if self.has_end:
            batch.valid[batch.depth >= 1] = False
        batch.depth[...] *= self.factor
        batch.depth[~batch.valid] = 0

    def wrap(self, predict: Predict) -> Predict:
        """The same predictions, with depths to be compared with the converted truth."""

        def predict_mapped(image_B3HW: Tensor, background_B3HW: Tensor | None) -> PredictedMaps:
            mask_prob_B1HW, depth_B1HW = predict(image_B3HW, background_B3HW)
            return PredictedMaps(mask_prob_B1HW, self.map_prediction(depth_B1HW))

        return predict_mapped

    def map_baseline(self, baseline: Baseline) -> Baseline:
        """A baseline's depth is in the model's scale."""
        return (
            baseline._replace(values_11HW=self.map_prediction(baseline.values_11HW)) if baseline.family == "depth" else baseline
        )

    def find_reason(self, family: str, name: str) -> str | None:
        """Why a score says nothing, whatever the images; None if it does. name: without `_pooled`."""
        if self.scored == "all" or not (family == "depth" or (family == "published" and name.startswith("depth"))):
            return None
        suffix = SUFFIXES.get(self.scored)
        if suffix is None or family == "published" or not name.endswith(suffix):
            return self.reason
        if self.scored == "aligned without ratios" and name.removesuffix(suffix) not in NO_RATIOS:
            return "the set's relative depth is an inverse depth with an unknown shift, whose ratios mean nothing"
        return None


def compare_depths(depth: DepthParams, model: DepthParams) -> Comparison:
    """How depths of a set are compared with a model's. model: the declaration of the depth that it was trained on."""
    if depth.unit == model.unit == "metre":
        return Comparison(model, depth.max / model.max, True, _keep, "all")
    fault = find_fault_of_comparison(depth, model)
    if fault is not None:
        return Comparison(depth, 1.0, False, _keep, "nothing", f"depth.{fault}")
    units = {"metre": "in metres", "relative": "relative"}
    both = f"the set's depth is {units[depth.unit]}, the model's {units[model.unit]}"
    if depth.unit == model.unit:
        both = "the depths of set and model are relative, each with a scale of its own"
    reason = f"{both}: only what was fitted to the truth can be compared"
    compared = Comparison(depth, 1.0, depth.unit == "metre", _keep, "aligned", reason)
    if depth.unit == "relative" and depth.polarity == "near_is_large":
        mapped = _invert if model.unit == "metre" else _keep
        return replace(compared, map_prediction=mapped, scored="aligned without ratios")
    if model.unit == "relative" and model.polarity == "near_is_large":
        return replace(compared, map_prediction=_read_inverse, scored="aligned in disparity")
    return compared


def _keep(depth: Tensor) -> Tensor:
    return depth


def _invert(depth: Tensor) -> Tensor:
    """Minus the inverse depth, which grows with the depth, as what the set's reader makes of an inverse depth does."""
    return -1 / depth.clamp_min(INVERSE_FLOOR)


def _read_inverse(depth: Tensor) -> Tensor:
    """The depth, up to scale and shift of its inverse, from a prediction of 1 minus the inverse; INVERSE_FLOOR to 1."""
    return INVERSE_FLOOR / (1 - depth).clamp(INVERSE_FLOOR, 1).to(torch.float32)
