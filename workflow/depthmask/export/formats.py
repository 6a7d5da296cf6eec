"""Exports the model to ONNX or torch.export, for any batch, height and width, and compares the result with torch.

Normalisation, padding to the network's stride and the depth unit are part of the graph. Input `image` (and `background`, where
the model takes one): float32 B x 3 x H x W, sRGB 0..1. Outputs `mask`: B x 1 x H x W, probability of foreground; `depth`:
B x 1 x H x W in the model's unit, larger is farther.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from depthmask.base.errors import UserError, format_install_command
from depthmask.base.files import replace_file
from depthmask.models.model_file import DepthMaskModel
from depthmask.registry.networks import NetworkSpec

TOLERANCE = 1e-4  # of the probability, and of depth / depth_max
INPUTS, OUTPUTS = ("image", "background"), ("mask", "depth")
OPSET = 20
BATCH_MAX, SIDE_MAX_PX = 4096, 16384
COMPARED_MAX_PX = 512  # limit for comparisons; the card's own size may be thousands of pixels and take minutes
Run = Callable[[list[np.ndarray]], list[np.ndarray]]  # arrays in INPUTS order to arrays in OUTPUTS order


class ServedModel(nn.Module):
    """The model from images of 0..1 to maps in depth units, without branches on the image size."""

    def __init__(self, model: DepthMaskModel):
        super().__init__()
        self.model = model

    def forward(self, *pictures_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spec, (height, width) = self.model.spec, pictures_B3HW[0].shape[-2:]
        if spec.pads:
            pictures_B3HW = tuple(_pad_to_stride(x, spec.stride) for x in pictures_B3HW)
        prediction = self.model.predict_padded(*pictures_B3HW)
        mask_prob, depth = prediction.mask_prob_B1HW, prediction.depth_clamped_B1HW * self.model.card.depth_max
        if spec.pads:
            mask_prob, depth = (_crop(x, height, width) for x in (mask_prob, depth))
        return mask_prob, depth


class _OneInput(ServedModel):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(image)


class _TwoInputs(ServedModel):
    def forward(self, image: torch.Tensor, background: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(image, background)


def export_onnx(model: DepthMaskModel, path: Path, metadata: dict[str, str]) -> float:
    """Write an ONNX file with `metadata` in metadata_props; returns the largest difference from torch.

    Raises:
        UserError: the packages are missing, or onnxruntime differs from torch by more than TOLERANCE; then no file is
            left.
    """
    onnx, onnxruntime = _import_onnx()
    with replace_file(path) as temporary:
        with _keep_quiet():
            program = torch.onnx.export(
                trace(model),
                input_names=_name_inputs(model),
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        proto = program.model_proto
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto)
        temporary.write_bytes(proto.SerializeToString())
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        names = _name_inputs(model)
        return compare(model, lambda arrays: session.run(list(OUTPUTS), dict(zip(names, arrays))), path)


def export_program(model: DepthMaskModel, path: Path, metadata: dict[str, str]) -> float:
    """Write a file for torch.export.load, with `metadata` in its extra files; returns and raises like `export_onnx`."""
    with replace_file(path) as temporary:
        with temporary.open("wb") as out, _keep_quiet():  # torch does not recognise the format by a name in .part
            torch.export.save(trace(model), out, extra_files=dict(metadata))
        with temporary.open("rb") as data, _keep_quiet():
            module = torch.export.load(data).module()

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                return [values.numpy() for values in module(*map(torch.from_numpy, arrays))]

        return compare(model, run, path)


def trace(model: DepthMaskModel) -> torch.export.ExportedProgram:
    """Trace the graph with dynamic batch, height and width."""
    spec = model.spec
    sizes = {2: _make_side("height", spec), 3: _make_side("width", spec)}
    # an example with different sides and a batch above one, so that no size is a special case
    height, width = (_make_multiple(side_px, spec) for side_px in (64, 96))
    names = _name_inputs(model)
    example = tuple(torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(n)) for n in range(len(names)))
    served = (_TwoInputs if model.background_input else _OneInput)(model.cpu().eval())
    with torch.no_grad():
        return torch.export.export(
            served, example, dynamic_shapes={n: {0: Dim("batch", min=1, max=BATCH_MAX), **sizes} for n in names}
        )


def compare(model: DepthMaskModel, run: Run, path: Path) -> float:
    """The largest difference of `run` from the model at several sizes, with depth as a fraction of depth_max.

    Raises:
        UserError: it is above TOLERANCE, or not a number.
    """
    largest = 0.0
    for batch, height, width in list_sizes(model):
        generator = torch.Generator().manual_seed(height * 4096 + width)
        pictures = [torch.rand(batch, 3, height, width, generator=generator) for _ in _name_inputs(model)]
        with torch.inference_mode():
            prediction = model(*pictures)
        given = run([picture.numpy() for picture in pictures])
        wanted = (prediction.mask_prob_B1HW.numpy(), prediction.depth_clamped_B1HW.numpy())
        for values, truth, unit in zip(given, wanted, (1.0, model.card.depth_max)):
            difference = float(np.abs(values / unit - truth).max()) if values.shape == truth.shape else float("inf")
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{path}: not written, because it differs from torch by {difference:.3g} on images of {width} x {height} px"
                    f" (allowed: {TOLERANCE:g}); the model or this version of the exporter is at fault"
                )
            largest = max(largest, difference)
    return largest


def list_sizes(model: DepthMaskModel) -> list[tuple[int, int, int]]:
    """(batch, height, width) for comparisons: square, wide, tall, and odd if the network pads.

    The square has the trained size, unless that is too large.
    """
    side = min(model.card.image_size_px or 64, COMPARED_MAX_PX)
    sizes = [(1, side, side), (3, side // 2, side), (1, 2 * side, side + 32), (2, side + 5, side - 7)]
    return list(dict.fromkeys((batch, *(_make_multiple(size, model.spec) for size in pair)) for batch, *pair in sizes))


def _make_multiple(side_px: int, spec: NetworkSpec) -> int:
    """The largest side up to side_px that the graph takes, or its smallest; see `_make_side`."""
    if spec.pads:
        return max(2 * spec.deepest_stride, side_px)
    return max(spec.min_size_px, side_px - side_px % spec.stride)


def _make_side(name: str, spec: NetworkSpec):
    """A dynamic side: any length from twice the deepest stride, or multiples of the stride if the network does not pad.

    At once the deepest stride its map is a single pixel, which tracing would treat as a special case.
    """
    if spec.pads:
        return Dim(name, min=2 * spec.deepest_stride, max=SIDE_MAX_PX)
    if spec.stride == 1:
        return Dim(name, min=spec.min_size_px, max=SIDE_MAX_PX)
    steps = Dim(f"{name}_over_{spec.stride}", min=max(2, spec.min_size_px // spec.stride), max=SIDE_MAX_PX // spec.stride)
    return spec.stride * steps


def _name_inputs(model: DepthMaskModel) -> list[str]:
    return list(INPUTS if model.background_input else INPUTS[:1])


def _pad_to_stride(x_B3HW: torch.Tensor, stride: int) -> torch.Tensor:
    """Repeat the last row and column up to multiples of the stride, by indexing, which does not branch on the remainder."""
    for axis in (2, 3):
        size = x_B3HW.shape[axis]
        padded = (size + stride - 1) // stride * stride
        x_B3HW = x_B3HW.index_select(axis, torch.arange(padded, device=x_B3HW.device).clamp(max=size - 1))
    return x_B3HW


def _crop(x_B1HW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The upper left part, also by indexing: for a slice the exporter cannot prove that the padded map is large enough."""
    for axis, size in ((2, height), (3, width)):
        x_B1HW = x_B1HW.index_select(axis, torch.arange(size, device=x_B1HW.device))
    return x_B1HW


def _import_onnx():
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        install = format_install_command("export")
        raise UserError(f"export to ONNX needs the package {error.name}; install with: {install}") from error
    return onnx, onnxruntime


@contextlib.contextmanager
def _keep_quiet() -> Iterator[None]:
    """Silence the exporters' internal warnings; what counts is the comparison afterwards."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
