"""The average of the trained model, further ones and mirror images, to be scored beside the trained model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from depthmask.base.files import hash_file
from depthmask.base.paths import show_path
from depthmask.base.terminal import note
from depthmask.models.averaging import average
from depthmask.models.ensemble_folder import check_members, drop_copies, find_doubt
from depthmask.models.inference import Predict, make_predict
from depthmask.models.model_file import DepthMaskModel, load_model
from depthmask.params import DepthParams, Params
from depthmask.scores import NUM_MODELS, NUM_VIEWS


class Average(NamedTuple):
    """background_input: whether any model takes the clean background. files: of the further models, for the record."""

    predict: Predict
    background_input: bool
    files: list[dict[str, str]]
    flip: bool

    def count(self) -> dict[str, int]:
        """How many models, and views of each image (with flips two), for metrics.json."""
        return {NUM_MODELS: 1 + len(self.files), NUM_VIEWS: 2 if self.flip else 1}

    def describe(self) -> dict[str, Any]:
        """For the record of the run."""
        return {"flip": self.flip, "models": self.files}


def open_average(
    trained: Path,
    model: DepthMaskModel,
    predict: Predict,
    params: Params,
    depth: DepthParams,
    device: torch.device,
) -> Average | None:
    """The average that params.yaml asks for; None if that is the trained model alone.

    trained: the file of `model`, whose depth is as declared; predict: made from it.

    Raises:
        UserError: a further model cannot be read, or does not fit.
    """
    evaluate, channels_last = params.evaluate, params.compute.channels_last
    cards = check_members(Path(evaluate.ensemble), depth, evaluate.image_size_px)
    further, lines = drop_copies(cards, trained)
    for line in lines:
        note(line)
    for path in further:
        doubt = find_doubt(cards[path], params.split, params.split_seed)
        if doubt is not None:
            note(
                f"{show_path(path)}: {doubt}, so test images may be among its training images, which would make the average's"
                " scores too good"
            )
    if not further and not evaluate.flip:
        return None
    members, files = [(predict, model.background_input, 1.0)], []
    for path in further:
        with torch.random.fork_rng(devices=[]):  # new layers draw initial weights, although the file's replace them
            one = load_model(path)
        members.append((make_predict(one, device, channels_last), one.background_input, one.card.depth_max / depth.max))
        files.append({"file": show_path(path), "sha256": hash_file(path), "network": one.name})
    return Average(average(members, evaluate.flip), any(takes for _, takes, _ in members), files, evaluate.flip)
