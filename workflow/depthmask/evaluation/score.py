"""Scores a model, and the baselines, over a set of samples.

Shapes: B images of H x W; N images in the whole set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from depthmask.base.errors import NotFiniteError, UserError
from depthmask.base.terminal import track
from depthmask.compute.memory import bound_memory
from depthmask.data.batch import ABSOLUTE, INSIDE, Batch, ByteBatch
from depthmask.evaluation.baselines import Baseline
from depthmask.evaluation.not_scored import UNDEFINED, count_images, find_reason
from depthmask.loading.dataset import SampleSet
from depthmask.loading.loader import load_in_order
from depthmask.loading.split_files import Groups
from depthmask.metrics import Thresholds, gather, join_batches, mean_over_images, pooled, score, score_family
from depthmask.metrics.protocol import PLAIN_PROTOCOL, DepthProtocol
from depthmask.metrics.reduce import Scores, Statistics
from depthmask.models.inference import Predict, PredictedMaps
from depthmask.scores import AVERAGED, BY_SOURCE, NOT_SCORED, NUM_SCORED, POOLED, SCORES, SOURCE
from depthmask.scores.rounding import round_score

IDENTITY_COLUMNS = (
    "key",
    "background",
    "cutout",
    "background_group",  # in the split: its images stay together
    "cutout_group",
    "kind",
    "mask_fraction",
    "valid_fraction",
    "foreground_depth",  # mean, in depth units, like the next three
    "scene_near",
    "scene_far",
    "foreground_x",  # of the centre of mass, 0..1 from left and top
    "foreground_y",
)
SCENE_PERCENTILES = (5, 95)
NETWORK = ""  # beside the names of baselines

# why a score (family, name) says nothing whatever the images, None if it does; see `other_sets.comparing`
Withhold = Callable[[str, str], str | None]


@dataclass(frozen=True)
class TestScores:
    """identity: one mapping per image, with IDENTITY_COLUMNS. scores: by family and key, N values, NaN where undefined.

    summary: by family and key, means over images and, as `..._pooled`, pooled scores. baselines: the same by baseline and key.
    NaN where this set of images says nothing; not_scored: why, by (family, key) of the summary. num_images: with a known mask,
    with foreground in it, with known depth. sums: by NETWORK or baseline, and family, N values each.
    by_source: of the images of each of several sources, by its name; empty if there is but one.
    """

    identity: list[dict[str, Any]]
    scores: dict[str, Scores]
    summary: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    not_scored: dict[tuple[str, str], str]
    num_images: dict[str, int]
    sums: dict[str, dict[str, Statistics]] = field(default_factory=dict)
    by_source: dict[str, TestScores] = field(default_factory=dict)

    def value(self, family: str, key: str, index: int) -> float:
        return float(self.scores[family][key][index])


def track_batches(samples: SampleSet, batch_size: int, what: str = "scoring") -> Iterator[ByteBatch]:
    """Every sample once, in order, with a progress bar."""
    return track(bound_memory(load_in_order(samples, batch_size)), what, "batches", -(-len(samples) // batch_size))


def predict_batch(predict: Predict, batch: ByteBatch) -> tuple[PredictedMaps, Batch]:
    """The predictions for a batch, and the batch as floats, both on the CPU.

    Raises:
        UserError: the prediction is not finite.
    """
    floats = batch.to("cpu")
    try:
        return predict(floats.image_B3HW, floats.background_B3HW), floats
    except NotFiniteError as error:
        first, last = batch.origins[0].key, batch.origins[-1].key
        raise UserError(f"{error.message}, first among {first} .. {last}", hint=error.hint) from error


def score_samples(
    predict: Predict,
    batches: Iterable[ByteBatch],
    baselines: Sequence[Baseline],
    depth_max: float,
    thresholds: Thresholds | None = None,
    groups: Groups | None = None,
    protocol: DepthProtocol = PLAIN_PROTOCOL,
    withhold: Withhold = lambda family, name: None,
) -> TestScores:
    """Score the predictions and the baselines on every sample.

    depth_max: the depth that 1 stands for. thresholds: from `metrics.find_thresholds`; None skips some published scores.
    groups: from `loading.split_files.read_groups`; None: each background and cut-out is a group of its own.
    protocol: of the depth scores, from `depth_protocol.make_protocol`.
    withhold: which scores are not given, and why.
    """
    identity: list[dict[str, Any]] = []
    is_relative: list[bool] = []
    gathered: dict[str, list[dict[str, Statistics]]] = {NETWORK: [], **{baseline.name: [] for baseline in baselines}}
    for batch in batches:
        identity.extend(describe_sample(batch, b, depth_max, groups or {}) for b in range(len(batch)))
        is_relative += [False] * len(batch) if batch.relation is None else (batch.relation != ABSOLUTE).tolist()
        predicted, truth = predict_batch(predict, batch)
        gathered[NETWORK].append(gather(*predicted, truth, thresholds=thresholds, protocol=protocol))
        for baseline in baselines:
            maps = baseline.values_11HW.expand_as(truth.mask_B1HW)
            gathered[baseline.name].append(gather(maps, maps, truth, families=(baseline.family,), protocol=protocol))
    joined = {name: _join(parts) for name, parts in gathered.items()}
    own, fitted = joined.pop(NETWORK), {b.name: b.family for b in baselines}
    whole = _make_scores(identity, own, joined, fitted, depth_max, any(is_relative), withhold)
    by_source = {}
    for name, indices in list_sources_of(identity).items():
        theirs = {name: _choose(sums, indices) for name, sums in joined.items()}
        named = [identity[index] for index in indices]
        has_relative = any(is_relative[index] for index in indices)
        by_source[name] = _make_scores(named, _choose(own, indices), theirs, fitted, depth_max, has_relative, withhold)
    return replace(whole, by_source=by_source)


def _make_scores(
    identity: list[dict[str, Any]],
    own: dict[str, Statistics],
    joined: Mapping[str, dict[str, Statistics]],
    families: Mapping[str, str],
    depth_max: float,
    has_relative: bool,
    withhold: Withhold,
) -> TestScores:
    """joined: the statistics of each baseline; families: which family scores it; has_relative: see `find_reason`."""
    summary, not_scored = _summarise(own, depth_max, has_relative, withhold)
    baselines = {name: _summarise(joined[name], depth_max, False, withhold)[0][family] for name, family in families.items()}
    scores = {
        family: {name: values if withhold(family, name) is None else values * math.nan for name, values in named.items()}
        for family, named in score(own, depth_max).items()
    }
    return TestScores(
        identity=identity,
        scores=scores,
        summary=summary,
        baselines=baselines,
        not_scored=not_scored,
        num_images=count_images(own),
        sums={NETWORK: own} | {name: {family: joined[name][family]} for name, family in families.items()},
    )


def list_sources_of(identity: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The indices of each source's images, if there are several sources."""
    sources: dict[str, list[int]] = {}
    for index, one in enumerate(identity):
        if SOURCE in one:
            sources.setdefault(one[SOURCE], []).append(index)
    return sources


def _choose(statistics: dict[str, Statistics], indices: list[int]) -> dict[str, Statistics]:
    return {family: {name: values[indices] for name, values in sums.items()} for family, sums in statistics.items()}


def _summarise(
    statistics: dict[str, Statistics], depth_max: float, has_relative: bool, withhold: Withhold
) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], str]]:
    """By family: every score as the mean over images, and some also pooled over the set; and why some are NaN."""
    summary, not_scored = {}, {}
    for family, sums in statistics.items():
        whole = pooled(sums, lambda total, family=family: score_family(family, total, depth_max))
        names = [spec.name for spec in SCORES.values() if spec.family == family and spec.pooled and spec.name in whole]
        pooled_scores = {f"{name}{POOLED}": whole[name] for name in names}
        summary[family] = mean_over_images(score_family(family, sums, depth_max)) | pooled_scores
        for name, value in summary[family].items():
            reason = find_reason(family, name, sums, has_relative=has_relative) or withhold(family, name.removesuffix(POOLED))
            reason = reason or (UNDEFINED if math.isnan(value) else None)
            if reason is not None:
                summary[family][name], not_scored[family, name] = math.nan, reason
    return summary, not_scored


def _join(parts: list[dict[str, Statistics]]) -> dict[str, Statistics]:
    return {family: join_batches([part[family] for part in parts]) for family in parts[0]}


def describe_sample(batch: ByteBatch, b: int, depth_max: float, groups: Groups = MappingProxyType({})) -> dict[str, Any]:
    """Describe sample b: what it is made of, size and place of the foreground, coverage of known depth, and distances.

    groups: see `score_samples`. What is not known is empty: with an unknown mask, everything about the foreground.
    """
    origin, depth, valid = batch.origins[b], batch.depth[b], batch.valid[b]
    foreground = batch.mask[b] >= INSIDE
    known = foreground & valid
    rows, columns = np.nonzero(foreground)
    scene = np.percentile(depth[valid], SCENE_PERCENTILES) * depth_max if valid.any() else None
    return ({} if origin.source is None else {SOURCE: origin.source}) | {
        "key": origin.key,
        "background": origin.background,
        "cutout": origin.cutout or "",
        "background_group": groups.get((origin.source, "background", origin.background), origin.background),
        "cutout_group": groups.get((origin.source, "cutout", origin.cutout or ""), origin.cutout or ""),
        "kind": origin.kind or "",
        "mask_fraction": round_score(float(foreground.mean())) if batch.knows_mask(b) else "",
        "valid_fraction": round_score(float(valid.mean())),
        "foreground_depth": round_score(float(depth[known].mean(dtype="float64")) * depth_max) if known.any() else "",
        "scene_near": "" if scene is None else round_score(float(scene[0])),
        "scene_far": "" if scene is None else round_score(float(scene[1])),
        "foreground_x": _find_centre(columns, foreground.shape[1]),
        "foreground_y": _find_centre(rows, foreground.shape[0]),
    }


def _find_centre(places: np.ndarray, size: int) -> float | str:
    """The mean position of pixels along a side, as a fraction of it; empty if there are none."""
    return round_score((float(places.mean()) + 0.5) / size) if places.size else ""


def make_metrics(scores: TestScores) -> dict[str, Any]:
    """Means over images, nested by task, with `..._pooled` beside them; baselines by name.

    A score that the set cannot give is null, and `not_scored` has the reason by `family.key`. `num_images_with_mask` and
    `num_images_with_foreground` are there if some images lack one. `num_scored`: by `family.key`, how many images a mean is
    over, if not all. `by_source`: the same for each of several sources.
    """
    num = len(scores.identity)
    test = {family: _round_all(values) for family, values in scores.summary.items()}
    test |= {"num_images": num, "num_images_with_depth": scores.num_images["depth"]}
    counted = {"num_images_with_mask": "mask", "num_images_with_foreground": "foreground"}
    test |= {key: scores.num_images[what] for key, what in counted.items() if scores.num_images[what] < num}
    num_scored = {
        f"{family}.{name}": int((~values.isnan()).sum())
        for family, named in scores.scores.items()
        for name, values in named.items()
        if (family, name) not in scores.not_scored and bool(values.isnan().any())
    }
    not_scored = {f"{family}.{name}": reason for (family, name), reason in scores.not_scored.items()}
    test |= {key: values for key, values in ((NUM_SCORED, num_scored), (NOT_SCORED, not_scored)) if values}
    test |= {"baselines": {name: _round_all(values) for name, values in scores.baselines.items()}}
    by_source = {name: make_metrics(source)["test"] for name, source in scores.by_source.items()}
    return {"test": test | ({BY_SOURCE: by_source} if by_source else {})}


def separate_baselines(metrics: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metrics.json and of baselines.json, kept apart so that DVC's tables stay readable."""
    own, beside = _separate(metrics["test"])
    if BY_SOURCE in metrics["test"]:
        separated = {name: _separate(source) for name, source in metrics["test"][BY_SOURCE].items()}
        own[BY_SOURCE], beside[BY_SOURCE] = ({name: pair[place] for name, pair in separated.items()} for place in (0, 1))
    averaged = {AVERAGED: _drop_baselines(metrics[AVERAGED])} if AVERAGED in metrics else {}
    return {"test": own} | averaged, {"test": beside}


def _separate(scores: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    own = {name: value for name, value in scores.items() if name not in ("baselines", BY_SOURCE)}
    return own, dict(scores["baselines"])


def _drop_baselines(scores: dict[str, Any]) -> dict[str, Any]:
    """Those beside averaged scores, of which there are none: the trained model's are for the same images."""
    own = {name: value for name, value in scores.items() if name != "baselines"}
    return own | ({BY_SOURCE: {name: _drop_baselines(one) for name, one in own[BY_SOURCE].items()}} if BY_SOURCE in own else {})


def _round_all(values: dict[str, float]) -> dict[str, float | None]:
    return {key: round_score(value) for key, value in values.items()}


def make_rows(scores: TestScores) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of per_image.csv: identity, then `mask_...` and `depth_...`; undefined scores are empty."""
    flat = {f"{family}_{key}": values.tolist() for family, named in scores.scores.items() for key, values in named.items()}
    rows = []
    for index, identity in enumerate(scores.identity):
        values = {key: round_score(column[index]) for key, column in flat.items()}
        rows.append(identity | {key: "" if value is None else value for key, value in values.items()})
    columns = [SOURCE, *IDENTITY_COLUMNS] if scores.by_source else IDENTITY_COLUMNS
    return [*columns, *flat], rows


def rank_samples(scores: TestScores, family: str, key: str, best_first: bool = False) -> list[int]:
    """Indices from worst to best, or best to worst, by a score where higher is better.

    Ties keep the order of the set; undefined scores are skipped.
    """
    values = scores.scores[family][key].tolist()
    defined = [index for index, value in enumerate(values) if not math.isnan(value)]
    return sorted(defined, key=lambda index: -values[index] if best_first else values[index])
