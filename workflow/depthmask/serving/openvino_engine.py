"""Runs a model on the CPU with OpenVINO (the extra `openvino`), in float32 and equal to torch but for rounding.

The network is traced and converted once, which takes seconds and is kept in the cache folder; then compiled for every size of
photos that comes up, and compared with torch there before it is used.

Shapes: B images of H x W.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import sys
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthmask import __version__
from depthmask.base.errors import UserError, format_install_command
from depthmask.base.files import choose_cache, hash_file, hash_json, replace_folder, write_text
from depthmask.base.paths import show_path
from depthmask.base.terminal import note
from depthmask.models.compact import ROW_MIN, Place
from depthmask.models.model_file import DepthMaskModel

INSTALL = format_install_command("openvino")
TOLERANCE = 1e-4  # of mask probability and of depth / max, to torch; as for exported files
TRACED_PX = 224  # where the model file does not record a size
SIZES_MAX = 32  # compiled at a time
PIXELS_MAX = 1 << 22  # of all of them: a size keeps about 300 bytes a pixel
GRAPH, WEIGHTS, CHECKSUM = "model.xml", "model.bin", "sha256"  # files in the cache

Maps = tuple[Tensor, Tensor]  # mask probability and depth, B x 1 x H x W
Run = Callable[[Sequence[Tensor]], Maps]


class RunMaps(NamedTuple):
    """Like `Prediction`, as far as `make_predict` reads it."""

    mask_prob_B1HW: Tensor
    depth_clamped_B1HW: Tensor


class OpenVinoModel(nn.Module):
    """A model of which OpenVINO computes the maps, photo by photo, so that the others in a batch change nothing.

    path: its file; None: it has none, and nothing is cached. At a size where OpenVINO fails or differs from torch, a line says so
    and torch computes; refused: these lines.

    Raises:
        ImportError: the package is not installed.
        Exception: whatever torch or OpenVINO raise if the network cannot be converted.
    """

    def __init__(self, model: DepthMaskModel, path: Path | None = None):
        super().__init__()
        self.model, self.refused = model, []
        self._name = model.name if path is None else show_path(path)
        self._openvino = import_openvino()
        self._graph = _read_or_convert(self._openvino, model, path)
        self._core = self._openvino.Core()
        self._runs: OrderedDict[tuple[int, ...], Run] = OrderedDict()
        self._lock = threading.Lock()  # a request serves one thread at a time

    @property
    def engine(self) -> str:
        """Name and version, for people."""
        return f"OpenVINO {self._openvino.__version__.split('-')[0]}"

    def forward(self, image_B3HW: Tensor, background_B3HW: Tensor | None = None) -> RunMaps:
        """Images of 0..1 to maps of 0..1, as `DepthMaskModel` does."""
        height, width = image_B3HW.shape[-2:]
        stride = self.model.spec.stride
        pad = (0, -width % stride, 0, -height % stride)
        pictures = [F.pad(x, pad, mode="replicate") if any(pad) else x for x in (image_B3HW, background_B3HW) if x is not None]
        with self._lock:
            run = self._find_run(tuple(pictures[0].shape[-2:]))
            maps = [run([x[number : number + 1] for x in pictures]) for number in range(len(image_B3HW))]
        return RunMaps(*(torch.cat(values)[..., :height, :width] for values in zip(*maps, strict=True)))

    def _find_run(self, size: tuple[int, ...]) -> Run:
        key = (*size, torch.get_num_threads())
        if key not in self._runs:
            while self._runs and (
                len(self._runs) == SIZES_MAX or sum(math.prod(one[:2]) for one in (key, *self._runs)) > PIXELS_MAX
            ):
                self._runs.popitem(last=False)
            self._runs[key] = self._prepare(size)
        self._runs.move_to_end(key)
        return self._runs[key]

    def _prepare(self, size: tuple[int, ...]) -> Run:
        """OpenVINO for this size if it computes what torch does, else torch."""
        plain = functools.partial(_run_torch, self.model)
        probe = _make_probe(1 + self.model.background_input, size)
        expected = plain(probe)
        try:
            run = self._compile(size)
            # by torch: its maximum is nan if a value is, and Python's need not be
            difference = float(torch.stack([(a - b).abs().max() for a, b in zip(run(probe), expected, strict=True)]).max())
            fault = None if difference <= TOLERANCE else f"differs from torch by {difference:.2g} (allowed: {TOLERANCE:g})"
        except Exception as error:  # whatever it may raise, torch can predict
            fault = f"fails ({_say(error)})"
        if fault is None:
            return run
        self.refused.append(f"{self._name}: at {size[1]} x {size[0]} px OpenVINO {fault}; predicting with torch")
        note(self.refused[-1])
        return plain

    def _compile(self, size: tuple[int, ...]) -> Run:
        graph = self._graph.clone()
        graph.reshape({number: [1, 3, *size] for number in range(len(graph.inputs))})
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it, which changes results
            "ENABLE_CPU_PINNING": False,  # else two processes could share a core beside idle ones
        }
        request = self._core.compile_model(graph, "CPU", settings).create_infer_request()

        def run(pictures: Sequence[Tensor]) -> Maps:
            request.infer([np.ascontiguousarray(x.numpy()) for x in pictures])
            mask, depth = (torch.from_numpy(request.get_output_tensor(number).data.copy()) for number in (0, 1))
            return mask, depth

        return run


class TracedPlace(nn.Module):
    """A `Place` that computes with tensors only, as it was traced: OpenVINO takes its division of sizes for one of integers."""

    def __init__(self, place: Place):
        super().__init__()
        self.linear = place.linear

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones_like(x[:1, :1])
        rows = (ones.cumsum(2) - 0.5) * 2 / ones.sum(2, keepdim=True) - 1
        columns = ((ones.cumsum(3) - 0.5) * 2 / ones.sum(3, keepdim=True) - 1).abs()
        return x + self.linear(torch.cat([rows, columns, -rows.abs().clamp(min=ROW_MIN).log()], dim=1))


class TwoMaps(nn.Module):
    """Pictures to mask probability and depth: a tracer takes tensors only."""

    def __init__(self, model: DepthMaskModel):
        super().__init__()
        self.model = model

    def forward(self, *pictures_B3HW: Tensor) -> Maps:
        prediction = self.model.predict_padded(*pictures_B3HW)
        return prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW


def import_openvino() -> Any:
    """The package, without its telemetry: on import it would send events to a server of its maker's.

    Raises:
        ImportError: it is not installed.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:
        import openvino

        return openvino
    sys.modules[name] = None  # as if that package were not installed, which it allows
    try:
        import openvino
    finally:
        del sys.modules[name]
    return openvino


def try_openvino(model: DepthMaskModel, path: Path, required: bool) -> OpenVinoModel | None:
    """The model for OpenVINO; None if the package is not installed or, which a line says, the network cannot be converted.

    Raises:
        UserError: required, and that is so.
    """
    try:
        return OpenVinoModel(model, path)
    except ImportError as error:
        if required:
            raise UserError(f"engine: openvino needs the package openvino; install with: {INSTALL}") from error
    except Exception as error:  # a converter may raise anything
        fault = f"{show_path(path)}: {model.name} cannot be converted for OpenVINO ({_say(error)})"
        if required:
            raise UserError(f"{fault}; choose the engine torch") from error
        note(f"{fault}; predicting with torch")
    return None


def _read_or_convert(openvino: Any, model: DepthMaskModel, path: Path | None) -> Any:
    """The graph for all sizes, from the cache folder if it is there; a cache that cannot be used is not an error."""
    folder = None
    with contextlib.suppress(OSError, ValueError, UserError):  # missing, damaged, or no place for a cache
        if path is not None:
            made_by = [openvino.__version__, torch.__version__, __version__]
            folder = choose_cache() / "openvino" / hash_json([hash_file(path), *made_by])
            return _read(openvino, folder)
    graph = _convert(openvino, model)
    if folder is not None:
        with contextlib.suppress(OSError, RuntimeError):  # no room, no permission, or another process was faster
            folder.parent.mkdir(parents=True, exist_ok=True)
            with replace_folder(folder) as temporary:
                _write(openvino, graph, temporary)
    # as from the cache in any case: written and read, a graph rounds differently
    with tempfile.TemporaryDirectory() as temporary:
        _write(openvino, graph, Path(temporary))
        return _read(openvino, Path(temporary))


def _write(openvino: Any, graph: Any, folder: Path) -> None:
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    write_text(folder / CHECKSUM, _hash_files(folder))


def _read(openvino: Any, folder: Path) -> Any:
    """A graph that was written whole; raises OSError or ValueError if it is missing or damaged."""
    if (folder / CHECKSUM).read_text(encoding="utf-8") != _hash_files(folder):
        raise ValueError(f"{folder}: damaged")
    return openvino.Core().read_model((folder / GRAPH).read_bytes(), (folder / WEIGHTS).read_bytes())


def _hash_files(folder: Path) -> str:
    return hash_json([hash_file(folder / name) for name in (GRAPH, WEIGHTS)])


@torch.no_grad()
def _convert(openvino: Any, model: DepthMaskModel) -> Any:
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Place):
                setattr(module, name, TracedPlace(child))
    stride, num_pictures = model.spec.stride, 1 + model.background_input
    side_px = -(-(model.card.image_size_px or TRACED_PX) // stride) * stride
    with warnings.catch_warnings(action="ignore"):  # that sizes become constants: the comparison at each size finds it
        traced = torch.jit.trace(TwoMaps(model).eval(), tuple(_make_probe(num_pictures, (side_px, side_px))), check_trace=False)
        graph = openvino.convert_model(traced)
    if (len(graph.inputs), len(graph.outputs)) != (num_pictures, 2):
        raise ValueError(f"the graph has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs")
    return graph


def _make_probe(num_pictures: int, size: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, 3, *size, generator=generator) for _ in range(num_pictures)]


def _run_torch(model: DepthMaskModel, pictures: Sequence[Tensor]) -> Maps:
    prediction = model(*pictures)
    return prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
