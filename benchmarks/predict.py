"""How long a prediction of one photo takes on the CPU, beside other engines and a U-Net of segmentation_models_pytorch.

    PYTHONPATH=workflow python benchmarks/predict.py [--threads 2] [--size-px 224] [--repeats 100] [--json FILE]

Ours is the network that data/models/finetune.safetensors holds, or, where it was not trained yet, a new one of params.yaml (time
does not depend on the weights). Of the forward pass alone, from normalised tensors to raw maps: `network` is the network as it
is trained; `folded` as `depthmask.load` prepares it; `compiled` is torch.compile, `frozen` the same with the weights as
constants; `ONNX Runtime` runs the network exported for this very size. `photo` is from uint8 photo arrays to mask and depth in
the photo's size, with the code of `depthmask predict`. Ours takes two images, as in the default recipe; the peer, a U-Net with
a ResNet-18, takes one. Contenders take turns within one run, so that other load on the machine affects all of them alike; the
first call of each turn is not counted. Whatever is not installed (a C++ compiler, the extras `export` and `peer`) is skipped.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_json
from depthmask.compute.device import keep_freed_memory
from depthmask.models.inference import make_predict
from depthmask.models.model_file import DepthMaskModel, ModelCard, count_parameters, load_model
from depthmask.params import NetworkParams, load_params
from depthmask.runs.hardware import describe_hardware
from depthmask.serving.folding import fold_constants
from depthmask.serving.predictor import Predictor

MODEL = Path("data/models/finetune.safetensors")
GOAL = 0.25  # of the peer's median
PER_TURN = 4  # calls that count
NUM_WARM_TURNS = 3
TOLERANCE = 1e-3  # of raw maps, by which an engine may differ from the network
PEERS = {"ours, network": "peer, network", "ours, folded": "peer, network", "ours, photo": "peer, photo"}


def make_contenders(size_px: int) -> tuple[dict[str, Callable[[], object]], str]:
    """What is timed, by name, and a line that says what it is."""
    model = load_model(MODEL) if MODEL.is_file() else DepthMaskModel(_make_card(load_params().model.network)).eval()
    rng = np.random.default_rng(0)
    photo, background = rng.integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)
    pictures = (photo, background) if model.background_input else (photo,)
    line = f"ours: {model.name}, {len(pictures)} images, {count_parameters(model):,} parameters"
    contenders, skipped = _time_model("ours", model, pictures, size_px, with_engines=True)
    line += "".join(f"\n{reason}" for reason in skipped)
    try:
        settings = load_params().model.model_copy(update={"name": "smp_unet", "background_input": False})
        peer = DepthMaskModel(_make_card(settings.network)).eval()
    except UserError as error:
        return contenders, f"{line}\npeer: skipped; {error}"
    unet = peer.network.unet
    line += f"\npeer: segmentation_models_pytorch Unet, resnet18, 1 image, {count_parameters(unet):,} parameters"
    return contenders | _time_model("peer", peer, (photo,), size_px)[0], line


def _make_card(settings: NetworkParams) -> ModelCard:
    return ModelCard(settings.model_dump(), (0.5,) * 3, (0.25,) * 3, "metre", 20.0)


def _time_model(
    name: str, model: DepthMaskModel, pictures: tuple[np.ndarray, ...], size_px: int, with_engines: bool = False
) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """Contenders of one model by name, and the reasons why some are skipped."""
    model = model.to(memory_format=torch.channels_last)
    tensors = [torch.rand(1, 3, size_px, size_px).contiguous(memory_format=torch.channels_last) for _ in pictures]
    network, skipped = copy.deepcopy(model.network), []
    timed = {f"{name}, network": lambda: network(*tensors)}
    if with_engines:
        fold_constants(model)
        timed[f"{name}, folded"] = lambda: model.network(*tensors)
        for engine, prepare in ENGINES.items():
            try:
                timed[f"{name}, {engine}"] = prepare(copy.deepcopy(network), tensors)
            except Exception as error:  # whatever a compiler or an exporter may raise
                skipped.append(f"{engine}: skipped; {type(error).__name__}: {' '.join(str(error).split())[:100]}")
        _require_equal(timed)
    predictor = Predictor(make_predict(model, "cpu", channels_last=True), model.card, size_px)
    return timed | {f"{name}, photo": lambda: predictor.predict(*pictures)}, skipped


def _compile(network: torch.nn.Module, tensors: list[torch.Tensor], freezing: bool = False) -> Callable[[], object]:
    compiled = torch.compile(network, options={"freezing": freezing})
    with torch.inference_mode():
        compiled(*tensors)
    return lambda: compiled(*tensors)


def _start_onnxruntime(network: torch.nn.Module, tensors: list[torch.Tensor]) -> Callable[[], object]:
    import onnxruntime

    tensors = [tensor.contiguous() for tensor in tensors]
    names = [f"image{number}" for number in range(len(tensors))]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it warns of every package that is not installed
    network = network.to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(network, tuple(tensors), input_names=names, dynamo=True, verbose=False)
    graph = io.BytesIO()
    program.save(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    arrays = {name: tensor.numpy() for name, tensor in zip(names, tensors)}
    return lambda: session.run(None, arrays)


ENGINES = {
    "compiled": _compile,
    "frozen": functools.partial(_compile, freezing=True),
    "ONNX Runtime": _start_onnxruntime,
}


@torch.inference_mode()
def _require_equal(timed: dict[str, Callable[[], object]]) -> None:
    """Raise UserError if the contenders do not compute the same maps."""
    (first, call), *others = timed.items()
    expected = [torch.as_tensor(maps) for maps in call() if maps is not None]
    for name, other in others:
        given = [torch.as_tensor(maps) for maps in other() if maps is not None]
        difference = max(float((a - b).abs().max()) for a, b in zip(expected, given, strict=True))
        if not difference <= TOLERANCE:
            raise UserError(f"{name} differs from {first} by {difference:.3g}; allowed: {TOLERANCE:g}")


@torch.inference_mode()
def time_in_turns(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds of each call of each contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(NUM_WARM_TURNS + -(-repeats // PER_TURN)):
        for name, call in contenders.items():
            for number in range(1 + PER_TURN):
                began = time.perf_counter()
                call()
                if turn >= NUM_WARM_TURNS and number > 0:
                    times[name].append(1000 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in times.items()}


def summarise(times: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """By contender: ms_p50, ms_p99, ms_min, and for ours the ratio of its median to the peer's where there is one."""
    summary = {}
    for name, values in times.items():
        p50, p99 = np.percentile(values, [50, 99])
        summary[name] = {"ms_p50": round(p50, 3), "ms_p99": round(p99, 3), "ms_min": round(float(values.min()), 3)}
        peer = times.get(PEERS.get(name))
        if peer is not None:
            summary[name]["ratio_p50"] = round(p50 / float(np.median(peer)), 3)
    return summary


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as depthmask.load does
    contenders, line = make_contenders(args.size_px)
    print(line)
    summary = summarise(time_in_turns(contenders, args.repeats))
    print(f"{args.size_px} px, batch 1, {args.threads} threads, {args.repeats} repeats, torch {torch.__version__}")
    print(f"{'':20}{'p50 ms':>10}{'p99 ms':>10}{'least ms':>10}{'of peer':>10}")
    for name, row in summary.items():
        ratio = row.get("ratio_p50")
        print(
            f"{name:20}{row['ms_p50']:10.2f}{row['ms_p99']:10.2f}{row['ms_min']:10.2f}"
            + (f"{ratio:10.3f}  {'goal met' if ratio <= GOAL else 'goal missed'}, {GOAL:g}" if ratio is not None else "")
        )
    if args.json:
        conditions = {"size_px": args.size_px, "threads": args.threads, "repeats": args.repeats, "hardware": describe_hardware()}
        write_json(args.json, {**conditions, "torch": torch.__version__, "what": line.splitlines(), "times": summary})
    return 0


if __name__ == "__main__":
    sys.exit(main())
