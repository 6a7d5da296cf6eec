"""How long a prediction of one photo takes on the CPU, by engine, beside a U-Net of segmentation_models_pytorch.

    PYTHONPATH=workflow python benchmarks/predict.py [--threads 2] [--size-px 224] [--networks encoder_decoder compact+background]
        [--engines network folded OpenVINO] [--repeats 100] [--json FILE]

The forward pass, of new networks (time does not depend on the weights): `default` of params.yaml, or any of params.yaml's names,
with `+background` if it takes the clean background as well. The peer is a U-Net with a ResNet-18, which takes one image. Engines,
of ours and of the peer: `network` as it is trained; `folded` as `depthmask.load` prepares it for torch; `compiled` is
torch.compile, `frozen` the same with the weights as constants; `ONNX Runtime` runs the network exported for this very size;
`OpenVINO` is as `depthmask.load` uses it, with normalisation and clamping. `photo` is from uint8 photo arrays to mask and depth
in the photo's size, by the code of `depthmask predict` and the first of OpenVINO and torch that is there.

Printed are milliseconds and the ratio of the medians, ours to the peer's, by the same engine and of the fastest engine of each.
Contenders take turns within one run, so that other load on the machine affects all of them alike; the first call of each turn is
not counted. Whatever is not installed (a C++ compiler, the extras `export`, `openvino` and `peer`) is skipped, with a line.
"""

from __future__ import annotations

import argparse
import copy
import functools
import io
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.compute.device import keep_freed_memory
from depthmask.models.inference import make_predict
from depthmask.models.model_file import DepthMaskModel, ModelCard, count_parameters
from depthmask.params import NetworkParams, load_params
from depthmask.registry.networks import NETWORKS
from depthmask.runs.hardware import describe_hardware
from depthmask.serving.folding import fold_batch_norms
from depthmask.serving.openvino_engine import OpenVinoModel
from depthmask.serving.predictor import Predictor

GOAL = 0.25  # of the peer's median
PEER = "peer"
PER_TURN = 4  # calls that count
NUM_WARM_TURNS = 3
TOLERANCE = 1e-3  # of raw maps, by which an engine may differ from the network
PHOTO, BEST = "photo", "best of each"

Contenders = dict[tuple[str, str], Callable[[], object]]  # by network and engine


def make_contenders(networks: Sequence[str], engines: Sequence[str], size_px: int) -> tuple[Contenders, list[str]]:
    """What is timed, and lines that say what it is, and what is skipped."""
    contenders: Contenders = {}
    lines = []
    for name in (*networks, PEER):
        try:
            model = DepthMaskModel(_make_card(_read_network(name))).eval()
        except UserError as error:
            if name != PEER:
                raise
            lines.append(f"{PEER}: skipped; {error}")
            continue
        num_pictures = 1 + model.background_input
        lines.append(
            f"{name}: {model.name}, {num_pictures} image{'s' * (num_pictures - 1)}, {count_parameters(model):,} parameters"
        )
        timed, skipped = _time_model(model.to(memory_format=torch.channels_last), engines, num_pictures, size_px)
        contenders |= {(name, engine): call for engine, call in timed.items()}
        lines += [f"{name}, {reason}" for reason in skipped]
    return contenders, lines


def _read_network(name: str) -> NetworkParams:
    params = load_params().model
    if name == "default":
        changes = {}
    elif name == PEER:
        changes = {"name": "smp_unet", "background_input": False}
    else:
        network, _, background = name.partition("+")
        if network not in NETWORKS or background not in ("", "background"):
            raise UserError(
                f"--networks: {name}; allowed: default, or one of {', '.join(NETWORKS)}, with +background if it takes it"
            )
        changes = {"name": network, "background_input": bool(background)}
    network = changes.get("name", params.name)
    if NETWORKS[network].has_encoder:
        changes["encoder_weights"] = "none"  # time does not depend on them
    return params.model_copy(update=changes).network


def _make_card(settings: NetworkParams) -> ModelCard:
    return ModelCard(settings.model_dump(), (0.5,) * 3, (0.25,) * 3, "metre", 20.0)


def _time_model(
    model: DepthMaskModel, engines: Sequence[str], num_pictures: int, size_px: int
) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """Contenders of one model by engine, and the reasons why some are skipped."""
    tensors = [torch.rand(1, 3, size_px, size_px).contiguous(memory_format=torch.channels_last) for _ in range(num_pictures)]
    timed, skipped = {}, []
    for engine in engines:
        try:
            timed[engine] = ENGINES[engine](copy.deepcopy(model), tensors)
        except Exception as error:  # whatever a compiler or a converter may raise
            skipped.append(f"{engine}: skipped; {type(error).__name__}: {' '.join(str(error).split())[:100]}")
    _require_equal({engine: call for engine, call in timed.items() if engine != "OpenVINO"})  # which has been compared already
    if "OpenVINO" in timed:
        run = make_predict(OpenVinoModel(model), "cpu")
    else:
        fold_batch_norms(model)
        run = make_predict(model, "cpu", channels_last=True)
    pictures = np.random.default_rng(0).integers(0, 256, (num_pictures, size_px, size_px, 3), dtype=np.uint8)
    predictor = Predictor(run, model.card, size_px)
    return timed | {PHOTO: lambda: predictor.predict(*pictures)}, skipped


def _run_network(model: DepthMaskModel, tensors: list[torch.Tensor]) -> Callable[[], object]:
    return lambda: model.network(*tensors)


def _fold(model: DepthMaskModel, tensors: list[torch.Tensor]) -> Callable[[], object]:
    fold_batch_norms(model)
    return lambda: model.network(*tensors)


def _compile(model: DepthMaskModel, tensors: list[torch.Tensor], freezing: bool = False) -> Callable[[], object]:
    compiled = torch.compile(model.network, options={"freezing": freezing})
    with torch.inference_mode():
        compiled(*tensors)
    return lambda: compiled(*tensors)


def _start_onnxruntime(model: DepthMaskModel, tensors: list[torch.Tensor]) -> Callable[[], object]:
    import onnxruntime

    tensors = [tensor.contiguous() for tensor in tensors]
    names = [f"image{number}" for number in range(len(tensors))]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it warns of every package that is not installed
    network = model.network.to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(network, tuple(tensors), input_names=names, dynamo=True, verbose=False)
    graph = io.BytesIO()
    program.save(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    arrays = {name: tensor.numpy() for name, tensor in zip(names, tensors)}
    return lambda: session.run(None, arrays)


def _start_openvino(model: DepthMaskModel, tensors: list[torch.Tensor]) -> Callable[[], object]:
    fast = OpenVinoModel(model.to(memory_format=torch.contiguous_format))
    tensors = [tensor.contiguous() for tensor in tensors]
    with torch.inference_mode():
        fast(*tensors)
    if fast.refused:
        raise UserError(fast.refused[0])
    return lambda: fast(*tensors)


ENGINES = {
    "network": _run_network,
    "folded": _fold,
    "compiled": _compile,
    "frozen": functools.partial(_compile, freezing=True),
    "ONNX Runtime": _start_onnxruntime,
    "OpenVINO": _start_openvino,
}


@torch.inference_mode()
def _require_equal(timed: dict[str, Callable[[], object]]) -> None:
    """Raise UserError if the contenders do not compute the same maps."""
    calls = list(timed.items())
    if not calls:
        return
    (first, call), *others = calls
    expected = [torch.as_tensor(maps) for maps in call() if maps is not None]
    for name, other in others:
        given = [torch.as_tensor(maps) for maps in other() if maps is not None]
        difference = max(float((a - b).abs().max()) for a, b in zip(expected, given, strict=True))
        if not difference <= TOLERANCE:
            raise UserError(f"{name} differs from {first} by {difference:.3g}; allowed: {TOLERANCE:g}")


@torch.inference_mode()
def time_in_turns(contenders: dict[Any, Callable[[], object]], repeats: int) -> dict[Any, np.ndarray]:
    """Milliseconds of each call of each contender."""
    times: dict[Any, list[float]] = {name: [] for name in contenders}
    for turn in range(NUM_WARM_TURNS + -(-repeats // PER_TURN)):
        for name, call in contenders.items():
            for number in range(1 + PER_TURN):
                began = time.perf_counter()
                call()
                if turn >= NUM_WARM_TURNS and number > 0:
                    times[name].append(1000 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in times.items()}


def summarise(times: dict[tuple[str, str], np.ndarray]) -> dict[str, dict[str, dict[str, float]]]:
    """By network and engine: ms_p50, ms_p99, ms_min, and for ours ratio_p50, of the medians to the peer's, where it has one.

    The engine BEST has the ratio of the fastest engines' medians.
    """
    p50 = {key: float(np.median(values)) for key, values in times.items()}
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for (name, engine), values in times.items():
        row = {"ms_p50": p50[name, engine], "ms_p99": float(np.percentile(values, 99)), "ms_min": float(values.min())}
        if name != PEER and (PEER, engine) in p50:
            row["ratio_p50"] = p50[name, engine] / p50[PEER, engine]
        summary.setdefault(name, {})[engine] = {key: round(value, 3) for key, value in row.items()}
    best = {
        name: min(p50[name, engine] for engine in rows if engine != PHOTO or len(rows) == 1) for name, rows in summary.items()
    }
    for name in summary:
        if name != PEER and PEER in summary:
            summary[name][BEST] = {"ms_p50": round(best[name], 3), "ratio_p50": round(best[name] / best[PEER], 3)}
    return summary


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of torch, and of the engines")
    parser.add_argument("--networks", nargs="+", default=["default"], metavar="NAME[+background]")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as depthmask predict does
    contenders, lines = make_contenders(args.networks, args.engines, args.size_px)
    print("\n".join(lines))
    summary = summarise(time_in_turns(contenders, args.repeats))
    print(f"{args.size_px} px, batch 1, {args.threads} threads, {args.repeats} repeats, torch {torch.__version__}")
    print(f"{'':40}{'p50 ms':>10}{'p99 ms':>10}{'least ms':>10}{'of peer':>10}")
    for name, rows in summary.items():
        for engine, row in rows.items():
            times = "".join(f"{row[key]:10.2f}" if key in row else f"{'':10}" for key in ("ms_p50", "ms_p99", "ms_min"))
            ratio = row.get("ratio_p50")
            verdict = "" if ratio is None else f"{ratio:10.3f}  {'goal met' if ratio <= GOAL else 'goal missed'}, {GOAL:g}"
            print(f"{f'{name}, {engine}':40}{times}{verdict}")
    if args.json:
        conditions = {"size_px": args.size_px, "threads": args.threads, "repeats": args.repeats, "hardware": describe_hardware()}
        write_json(args.json, {**conditions, "torch": torch.__version__, "what": lines, "times": summary})
    return 0


if __name__ == "__main__":
    sys.exit(main())
