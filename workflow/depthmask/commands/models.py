"""`depthmask models`: lists each network's inputs, size and receptive field."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import write_csv
from depthmask.base.terminal import make_console, make_table
from depthmask.models import make_network
from depthmask.models.blocks import ScaleMinMax
from depthmask.models.model_file import count_parameters
from depthmask.params import NetworkParams
from depthmask.registry.networks import NETWORKS, NetworkSpec

WIDTH, DROPOUT = 16, 0.0  # as in the default recipe; the published networks have fixed widths
ENCODER = "efficientnet_lite0"
WHOLE = "all"  # shown as receptive field
CAPTION = (
    "images: 2 if the clean background is an input. field px: side of the square that a central pixel depends on (mask,"
    " depth if they differ; all: the whole image), not counting min-max scaling of whole maps. sizes px: step and smallest"
    f" side; padded: other sizes are padded. compact and encoder_decoder are shown at width {WIDTH}, the latter with {ENCODER}."
)

FIRST_SIDE_PX, LAST_SIDE_PX = 256, 1024
GAIN = 0.1  # of each layer: small enough that no sum of residuals saturates a sigmoid


class ReceptiveField(NamedTuple):
    """Side in pixels of the square that one pixel of mask or depth depends on; None: the whole image."""

    mask_px: int | None
    depth_px: int | None


class Row(NamedTuple):
    """A network with one kind of input; unmeasured values, because a package is missing, are empty."""

    name: str
    system: str
    input: str
    mask_gives: str
    parameters: int | str
    parameters_at_each_use: int | str
    mask_field_px: int | str
    depth_field_px: int | str
    sizes: str


def describe_network(name: str, background: bool) -> Row:
    """Build a network, count and measure it."""
    spec = NETWORKS[name]
    side = max(spec.stride, spec.min_size_px)
    inputs = [torch.zeros(1, 3, side, side) for _ in range(2 if background else 1)]
    try:
        common = {"width": WIDTH, "dropout": DROPOUT, "encoder": ENCODER}
        network = make_network(NetworkParams(name=name, background_input=background, **common))
    except UserError:  # an optional package is missing
        counts, field = ("", ""), ("", "")
    else:
        counts = count_parameters(network), count_parameters_at_each_use(network, *inputs)
        field = _name_whole(measure_receptive_field(network, len(inputs), side))
    taken = "background + image" if background else "image"
    return Row(name, spec.system, taken, spec.mask_gives, *counts, *field, describe_sizes(spec))


def describe_sizes(spec: NetworkSpec) -> str:
    """The multiple that the sides must have, in pixels, and what happens to others."""
    return f"{spec.stride}, padded" if spec.pads else f"{spec.stride}, from {spec.min_size_px}"


def describe_all(names: list[str]) -> list[Row]:
    """A row for each network and each kind of input it accepts."""
    kinds = ((name, background) for name in names for background in (False, True))
    return [describe_network(name, background) for name, background in kinds if _takes(NETWORKS[name], background)]


def measure_receptive_field(network: nn.Module, num_pictures: int, width_px: int) -> ReceptiveField:
    """The extent of the gradient of each head's central pixel with respect to the input; modifies the network.

    Scaling of whole maps (`ScaleMinMax`) is not counted. Because kernels are square, only the height is measured, on a strip of
    width `width_px`, which the network must accept, for num_pictures inputs (1, or 2 with the background). If the extent
    reaches the edges at LAST_SIDE_PX, the pixel is said to depend on the whole image.
    """
    _make_gradients_plain(network)
    side = FIRST_SIDE_PX
    field = _measure_extents(network, num_pictures, side, width_px)
    while None in field and side < LAST_SIDE_PX:
        side *= 2
        field = _measure_extents(network, num_pictures, side, width_px)
    return field


def _make_gradients_plain(network: nn.Module) -> None:
    """Set equal positive weights, no biases, and no activation or max pooling, so that no gradient cancels or vanishes.

    float64, because the contribution of a corner passes through the corners of all kernels and is tiny.
    """
    network.double().eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6 | ScaleMinMax):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.BatchNorm2d):
                child.reset_parameters()
            elif getattr(child, "weight", None) is not None:
                nn.init.constant_(child.weight, GAIN / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)


def _measure_extents(network: nn.Module, num_pictures: int, side: int, width: int) -> ReceptiveField:
    """Rows from the first to the last that the central pixel of each map depends on; None if they reach an edge."""
    pictures = [torch.zeros(1, 3, side, width, dtype=torch.float64, requires_grad=True) for _ in range(num_pictures)]
    prediction = network(*pictures)
    mask = prediction.mask_B1HW if prediction.mask_logits_B1HW is None else prediction.mask_logits_B1HW
    extents = []
    for map_B1HW in (mask, prediction.depth_B1HW):
        gradients = torch.autograd.grad(map_B1HW[0, 0, side // 2, width // 2], pictures, retain_graph=True, allow_unused=True)
        used = sum(gradient.abs().sum(dim=(0, 1, 3)) for gradient in gradients if gradient is not None).nonzero().flatten()
        first, last = int(used.min()), int(used.max())
        extents.append(None if first == 0 or last == side - 1 else last - first + 1)
    return ReceptiveField(*extents)


def count_parameters_at_each_use(network: nn.Module, *inputs: torch.Tensor) -> int:
    """The parameters of all layers, counted each time a layer runs in one pass over `inputs`."""
    total = 0

    def count(layer: nn.Module, *_) -> None:
        nonlocal total
        total += sum(p.numel() for p in layer.parameters(recurse=False))

    with _watch(network, count), torch.inference_mode():
        network.eval()(*inputs)
    return total


@contextmanager
def _watch(network: nn.Module, notify: Callable) -> Iterator[None]:
    """Within the block, `notify` is called after each run of each layer."""
    hooks = [module.register_forward_hook(notify) for module in network.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def print_models(rows: list[Row]) -> None:
    """Print the rows as a table, with a line below for each network that needs one."""
    console, table = make_console(stderr=False), make_table()
    for title in ("network", "system", "images", "parameters", "field px", "sizes px"):
        is_number = title in ("images", "parameters", "field px")
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        fields = dict.fromkeys(map(str, (row.mask_field_px, row.depth_field_px)))
        parameters = f"{row.parameters:,}" if row.parameters else "?"
        pictures = str(1 + row.input.count("+"))
        table.add_row(row.name, row.system, pictures, parameters, ", ".join(fields), row.sizes)
    console.print(table)
    for row in rows:
        if not row.parameters:
            console.print(f"{row.name}, {row.input}: not measured, because its optional package is not installed")
        elif row.parameters != row.parameters_at_each_use:
            console.print(f"{row.name}: {row.parameters_at_each_use:,} parameters if shared layers are counted at each use")
    console.print(CAPTION)


def _name_whole(field: ReceptiveField) -> tuple[int | str, int | str]:
    return tuple(WHOLE if side is None else side for side in field)


def _takes(spec: NetworkSpec, background: bool) -> bool:
    return spec.takes_background if background else not spec.needs_background


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="depthmask models", description="List the networks: input, parameters, receptive field, sizes."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to list (all)")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in NETWORKS]
    if unknown:
        raise UserError(f"{unknown[0]}: no such network; allowed: {', '.join(NETWORKS)}")

    rows = describe_all(args.names or list(NETWORKS))
    print_models(rows)
    if args.csv:
        write_csv(args.csv, Row._fields, [row._asdict() for row in rows])
    return 0
