"""A rough estimate of the memory, disk space and time that params need, before anything is run.

Memory and operations are proportional to pixels, batch_size x image_size_px^2, so they follow from `network_costs` alone. The
rates below were measured on an AMD EPYC with AVX-512 BF16 (`python -m tools.measure_costs --seconds`): a step takes the
operations of three forward passes, and moves the bytes kept for the backward pass. tests/unit/test_estimate.py compares
estimates with real trainings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from depthmask.compute.memory import GROWTH_BYTES_MAX
from depthmask.models.ensemble_folder import MODEL
from depthmask.params import ComputeParams, DownloadParams, LossParams, ModelParams, Params, PhaseParams
from depthmask.params.mixture import list_sources
from depthmask.params.other_sets import EVALUATE_OTHER
from depthmask.preflight.network_costs import Costs, find_costs, find_frozen_costs
from depthmask.registry.networks import NETWORKS
from depthmask.runs.hardware import find_gpu, multiplies_bfloat16

FLOPS_FLOAT32, FLOPS_BFLOAT16 = 1.0e11, 2.3e11  # per second and thread
MOVED_BYTES = 7.3e8  # per second, of what is kept for the backward pass
UPDATED_BYTES = 5e9  # per second, by the optimiser and the moving average
FROZEN_MOVED = 0.2  # of what a pass forward moves, if nothing is kept for the way back
PASSES = 3  # forward, and backward for maps and for weights, with equally many operations
LOSS_SECONDS = 5e-8  # of a term and a pixel
STEP_SECONDS = 5e-3  # independent of sizes
SAMPLE_SECONDS, SAMPLE_PIXEL_SECONDS = 4e-4, 4e-8  # to compose and augment a sample
SCORE_SECONDS, SCORE_PIXEL_SECONDS = 2e-3, 1.5e-7  # to score one
THREADS_EXPONENT = 0.85  # 2 threads are 1.8 times as fast as one

LIBRARIES_BYTES = 4.2e8  # of a process with torch imported
SAMPLE_BYTES = 12  # per pixel: image and background as bytes, mask, depth in float32, validity
FLOATS_BYTES = 72  # per pixel: the same as floats, with intermediate results
LOSS_BYTES = 24  # of a pixel and a term
SHARE_IN_FLIGHT = 0.35  # of what is kept: gradients in flight, and fragmentation
SHARE_WITHOUT_GRADIENTS = 0.25  # of what is kept: the maps alive at once in a forward pass without gradients
ROW_BYTES = 6000  # per scored sample: its statistics and its row
PREFETCHED_BATCHES = 5
STORE_BYTES = 6  # per pixel in data/store: image, mask, 16-bit depth
COMPOSED = ("demo", "assets")  # sources whose samples are composed during training
FILES_COUNTED_MAX = 30_000
PRE_COMPOSITED_MAX = 1_000_000  # assumed for a set of unknown size: more than any published set has


class Scoring(Protocol):
    """The keys of `evaluate` that decide its cost, in both graphs."""

    image_size_px: int
    batch_size: int
    num_samples: int
    baseline_samples: int


@dataclass(frozen=True)
class PhaseEstimate:
    """stage: of the phase. memory_bytes: peak. seconds: None if unknown, as on a GPU."""

    stage: str
    memory_bytes: float
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """phases: of training, then evaluate. store_bytes_each: per packed composite, if their number is not known."""

    phases: list[PhaseEstimate]
    disk_bytes: float
    store_bytes_each: float
    threads: int
    on_gpu: bool

    @property
    def memory_bytes(self) -> float:
        return max((phase.memory_bytes for phase in self.phases), default=0.0)

    @property
    def seconds(self) -> float | None:
        known = [phase.seconds for phase in self.phases if phase.seconds is not None]
        return sum(known) if known else None


def estimate_run(params: Params, num_cores: int) -> Estimate:
    """Estimate the stages from pack to evaluate, and to evaluate_other of each other set, if no phase stops early."""
    on_gpu, most = is_on_gpu(params.compute), count_most_samples(params.download)
    phases = [
        estimate_phase(stage, phase, params.model, phase.loss or params.loss, params.compute, num_cores, most)
        for stage in ("pretrain", "finetune")
        for phase in getattr(params, stage).phases()
    ]
    num_averaged = count_averaged(params.evaluate.flip, Path(params.evaluate.ensemble))
    phases.append(estimate_evaluation(params.evaluate, params.model, params.compute, num_cores, most, num_averaged))
    sizes = {phase.image_size_px for stage in (params.pretrain, params.finetune) for phase in stage.phases()}
    disk, disk_each = estimate_disk([params.model], params.download, sizes | {params.evaluate.image_size_px})
    for name, one in params.evaluate.more.items():
        num = one.num_samples or _count_scored(one, params.evaluate)
        scored = params.evaluate.model_copy(update={"num_samples": num})
        stage = f"{EVALUATE_OTHER}@{name}"
        phases.append(replace(estimate_evaluation(scored, params.model, params.compute, num_cores), stage=stage))
        if one.source not in COMPOSED:  # shards, then the store
            disk += 2 * STORE_BYTES * params.evaluate.image_size_px**2 * (_count_composites(Path(one.path)) or 0)
    return Estimate(phases, disk, disk_each, threads=min(params.compute.threads, num_cores), on_gpu=on_gpu)


def _count_scored(declared: DownloadParams, evaluate: Scoring) -> int:
    """About how many samples of another data set are scored, if all of it is."""
    if declared.source in COMPOSED:
        return evaluate.num_samples
    return _count_composites(Path(declared.path)) or evaluate.num_samples  # of unknown size: nothing better to say


def estimate_phase(
    stage: str,
    phase: PhaseParams,
    model: ModelParams,
    loss: LossParams,
    compute: ComputeParams,
    num_cores: int,
    most_samples: float = float("inf"),
) -> PhaseEstimate:
    """Estimate one training phase. num_cores: of the machine; most_samples: from `count_most_samples`."""
    costs, frozen, halves = find_costs(model), find_frozen_costs(model, phase.frozen_encoder_stages), is_bfloat16(compute)
    side_px = _pad(model.name, phase.image_size_px)
    moved, frozen_moved = (one.bytes_bfloat16 if halves else one.bytes_float32 for one in (costs, frozen))
    pixels, kept = phase.batch_size * side_px**2, moved - frozen_moved
    num_terms = sum(weight > 0 for task in (loss.mask, loss.depth) for weight in task.model_dump().values())
    moments = 2 if phase.optimizer == "adamw" else 1
    # weights, gradients, and twice the weights while saving; autocast keeps a 2-byte copy and its gradients
    copies = 4 + moments + (phase.ema_decay is not None) + halves
    num_validated = min(phase.validation_samples, most_samples)
    num_trained = costs.parameters - frozen.parameters
    memory = (
        LIBRARIES_BYTES
        + 4 * (num_trained * copies + frozen.parameters * 4)
        + pixels * (kept * (1 + SHARE_IN_FLIGHT) + frozen_moved * SHARE_WITHOUT_GRADIENTS)
        + pixels * (FLOATS_BYTES + PREFETCHED_BATCHES * SAMPLE_BYTES + LOSS_BYTES * num_terms * phase.loss_upscale**2)
        + SAMPLE_BYTES * num_validated * side_px**2
    )
    rate = FLOPS_BFLOAT16 if halves else FLOPS_FLOAT32
    speed = min(compute.threads, num_cores) ** THREADS_EXPONENT
    # a frozen encoder only passes forward
    forward_s = side_px**2 * (costs.flops / rate + (kept + FROZEN_MOVED * frozen_moved) / MOVED_BYTES / PASSES)
    backward_s = (PASSES - 1) * side_px**2 * ((costs.flops - frozen.flops) / rate + kept / MOVED_BYTES / PASSES)
    network_s = forward_s + backward_s
    loss_s = side_px**2 * LOSS_SECONDS * num_terms * phase.loss_upscale**2
    steps = min(phase.samples_per_epoch, most_samples) // phase.batch_size * phase.epochs
    step_s = STEP_SECONDS + 4 * num_trained * copies / UPDATED_BYTES
    made_s = SAMPLE_SECONDS + SAMPLE_PIXEL_SECONDS * side_px**2
    sample_s = (network_s + loss_s) / speed + made_s / 2  # mostly in parallel with training, in other processes
    validate_s = num_validated * (made_s + phase.epochs * (forward_s + loss_s) / speed)
    seconds = steps * (step_s + phase.batch_size * sample_s) + validate_s
    return PhaseEstimate(stage, memory, None if is_on_gpu(compute) else seconds)


def count_averaged(flip: bool, ensemble: Path) -> int:
    """How many predictions of each test image are averaged, beside the one that is scored alone; 0 if none are."""
    num_models = 1 + sum(1 for _ in ensemble.glob(f"*{MODEL}"))
    return num_models * (2 if flip else 1) if num_models > 1 or flip else 0


def estimate_evaluation(
    evaluate: Scoring,
    model: ModelParams,
    compute: ComputeParams,
    num_cores: int,
    most_samples: float = float("inf"),
    num_averaged: int = 0,
) -> PhaseEstimate:
    """Estimate scoring the test set; arguments as in `estimate_phase`.

    num_averaged: from `count_averaged`; further models are taken to cost what the trained one does.
    """
    costs, num_scored = find_costs(model), min(evaluate.num_samples, most_samples)
    pixels_each = _pad(model.name, evaluate.image_size_px) ** 2
    at_once = min(evaluate.batch_size, num_scored) * pixels_each
    maps = at_once * (costs.bytes_float32 * SHARE_WITHOUT_GRADIENTS + 3 * FLOATS_BYTES)
    freed = min(maps, GROWTH_BYTES_MAX)  # by earlier batches, and not reused: see bound_memory
    memory = LIBRARIES_BYTES + 8 * costs.parameters + maps + freed + num_scored * ROW_BYTES
    network_s = estimate_pass_seconds(costs, pixels_each, min(compute.threads, num_cores))
    made_s = SAMPLE_SECONDS + SAMPLE_PIXEL_SECONDS * pixels_each
    scored_s = made_s + SCORE_SECONDS + SCORE_PIXEL_SECONDS * pixels_each
    each_s = network_s + scored_s + (num_averaged * network_s + scored_s if num_averaged else 0.0)
    seconds = num_scored * each_s + min(evaluate.baseline_samples, most_samples) * made_s
    return PhaseEstimate("evaluate", memory, None if is_on_gpu(compute) else seconds)


def estimate_pass_seconds(costs: Costs, num_pixels: float, num_threads: int) -> float:
    """Seconds for a forward pass of one sample on a CPU, in float32."""
    of_a_pixel = costs.flops / FLOPS_FLOAT32 + costs.bytes_float32 / MOVED_BYTES / PASSES
    return num_pixels * of_a_pixel / num_threads**THREADS_EXPONENT


def estimate_disk(models: Iterable[ModelParams], download: DownloadParams, sizes_px: Iterable[int]) -> tuple[float, float]:
    """Bytes of checkpoints, models and store; and bytes per packed composite if their number is not known.

    models: of each training; samples are packed once for all.
    """
    parameters = sum(find_costs(model).parameters for model in models)
    files = 4 * parameters * (2 + 2 * 5)  # two models; two checkpoints with moments, average and best weights
    each, each_unknown = STORE_BYTES * sum(size_px**2 for size_px in sizes_px), 0.0
    for source in list_sources(download).values():
        if source.source in COMPOSED:
            continue
        num_composites = _count_composites(Path(source.path))
        if num_composites is None:
            each_unknown = each
        else:
            files += 2 * each * num_composites  # shards, then the store
    return files, each_unknown


def count_most_samples(download: DownloadParams) -> float:
    """The most samples that a part can have; infinite if composed during training, or drawn from several sources."""
    if download.source in COMPOSED or len(list_sources(download)) > 1:
        return float("inf")
    return _count_composites(Path(download.path)) or PRE_COMPOSITED_MAX


def _count_composites(path: Path) -> int | None:
    """A third of the files in a folder (image, mask, depth); None if there are none, or too many to count."""
    if not path.is_dir():
        return None
    number = 0
    for found in path.rglob("*"):
        number += found.suffix.lower() in (".jpg", ".jpeg", ".png")
        if number > FILES_COUNTED_MAX:
            return None
    return number // 3


def is_on_gpu(compute: ComputeParams) -> bool:
    """Whether training would use a GPU, judged without torch."""
    return compute.device in ("cuda", "mps") or (compute.device == "auto" and find_gpu())


def is_bfloat16(compute: ComputeParams) -> bool:
    """Whether the network would compute in bfloat16."""
    return compute.precision == "bfloat16" or (compute.precision == "auto" and (is_on_gpu(compute) or multiplies_bfloat16()))


def _pad(network: str, size_px: int) -> int:
    return size_px + -size_px % NETWORKS[network].stride
