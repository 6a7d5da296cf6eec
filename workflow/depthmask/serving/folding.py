"""A network made faster for predicting alone, equal but for rounding: what never changes is computed once, steps are joined."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from depthmask.models.compact import CompactNet, Context, Place, SeparableBlock
from depthmask.models.model_file import DepthMaskModel

SIZES_MAX = 16  # whose maps are kept; photos of one camera have one or two


class KeptMaps:
    """What `make` gives for an input of zeros, by the input's shape: it must depend on nothing else."""

    def __init__(self, make: Callable[[torch.Tensor], torch.Tensor]):
        self._make, self._maps = make, {}

    def take(self, x: torch.Tensor) -> torch.Tensor:
        key = (x.shape, x.device)
        if key not in self._maps:
            if len(self._maps) == SIZES_MAX:
                self._maps.clear()
            self._maps[key] = self._make(torch.zeros_like(x)).contiguous(memory_format=torch.channels_last)
        return self._maps[key]


class RememberedPlace(nn.Module):
    """A `Place` whose maps are kept."""

    def __init__(self, place: Place):
        super().__init__()
        self.place, self._kept = place, KeptMaps(place)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self._kept.take(x)


class PointwiseConv(nn.Module):
    """A 1 x 1 convolution as a product of matrices, which in channels-last memory it is: no other layout is tried first."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.weight.detach().flatten(1)), conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class OneDnnConv(nn.Module):
    """A convolution by the operator that torch's own compiler uses on CPUs: its weights laid out once, what follows it joined.

    activation: what follows, relu or none. `added`: a map that is added to the result before it.
    """

    def __init__(self, conv: nn.Conv2d, activation: str = "none"):
        super().__init__()
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self.how = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self._laid_out: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        onednn = torch.ops.mkldnn
        if self._laid_out is None:
            self._laid_out = onednn._reorder_convolution_weight(self.weight.detach(), *self.how, list(x.shape))
        if added is None:
            return onednn._convolution_pointwise(x, self._laid_out, self.bias, *self.how, self.activation, [], "")
        activation = None if self.activation == "none" else self.activation
        return onednn._convolution_pointwise.binary(
            x, added, self._laid_out, self.bias, *self.how, "add", None, activation, [], None
        )


class OffsetConv(OneDnnConv):
    """The convolution of `offset(x)`, which adds to x what depends on its shape alone: that part's share is kept."""

    def __init__(self, conv: nn.Conv2d, offset: Callable[[torch.Tensor], torch.Tensor], activation: str):
        super().__init__(conv, activation)
        padding, stride, dilation, groups = self.how
        self._kept = KeptMaps(lambda zeros: F.conv2d(offset(zeros), self.weight, None, stride, padding, dilation, groups))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x, self._kept.take(x))


class JoinedStem(nn.Module):
    """Normalisation, pixel unshuffle by 2, 3 x 3 convolution and ReLU of a trunk's pictures: one convolution of each picture.

    Each is of 6 x 6 pixels with a stride of 2. What the normalisation takes away never changes: its share is kept, with which
    the sum begins.
    """

    def __init__(self, conv: nn.Conv2d, normalise: nn.Module):
        super().__init__()
        outputs, inputs = conv.weight.shape[0], conv.weight.shape[1] // 4
        # channel, row and column within 2 x 2, row and column within 3 x 3
        weight = conv.weight.detach().view(outputs, inputs, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
        weights = weight.reshape(outputs, inputs, 6, 6).split(3, dim=1)
        parts = [nn.Conv2d(3, outputs, kernel_size=6, stride=2, padding=2, bias=False) for _ in weights]
        for part, of_picture in zip(parts, weights, strict=True):
            part.weight = nn.Parameter(of_picture / normalise.std)
        self.parts = nn.ModuleList(OneDnnConv(part, "relu" if part is parts[-1] else "none") for part in parts)
        summed, mean = sum(part.weight.detach() for part in parts), normalise.mean  # taken away from each picture alike
        self._kept = KeptMaps(lambda zeros: F.conv2d(zeros - mean, summed, conv.bias, stride=2, padding=2))

    def forward(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        x = self._kept.take(pictures[0])
        for part, picture in zip(self.parts, pictures, strict=True):
            x = part(picture, x)
        return x


class JoinedBlock(nn.Module):
    """A `SeparableBlock` of `OneDnnConv`: three operators."""

    def __init__(self, block: SeparableBlock):
        super().__init__()
        self.widen, self.depthwise, self.narrow = block.widen[0], block.depthwise[0], block.narrow[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.narrow(self.depthwise(self.widen(x)), x)


class JoinedContext(nn.Module):
    """A `Context` whose convolutions over columns are those of a picture that is one row high."""

    def __init__(self, context: Context):
        super().__init__()
        first, relu, second = context.of_column
        self.of_column = nn.Sequential(_raise_to_2d(first), relu, _raise_to_2d(second))
        self.of_picture = context.of_picture

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = x.mean(dim=2, keepdim=True).contiguous(memory_format=torch.channels_last)
        return x + (self.of_column(columns) + self.of_picture(columns.mean(dim=(2, 3)))[:, :, None, None])


def fold_constants(model: DepthMaskModel, device: str = "cpu") -> None:
    """Put batch norms that follow a convolution in a Sequential into its weights, keep what places give, and take each
    convolution by the shortest way that `device` has; on a CPU join the default network's steps.

    A Sequential must be computed in its order, but that its batch norm, once folded, may be anywhere after its convolution.
    The model is in eval mode and float32; it can neither be trained, nor saved, nor moved to another device any more.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            for number, (first, second) in enumerate(itertools.pairwise(list(module))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    if device == "cpu" and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        if isinstance(model.network, CompactNet):
            _join_steps(model)
        _use_onednn(model)
    else:
        _replace_convs(model, lambda conv: PointwiseConv(conv) if _is_pointwise(conv) else conv)
    _replace(model, Place, RememberedPlace)


def _join_steps(model: DepthMaskModel) -> None:
    """Normalise within the first convolutions, and tell places within those that read the maps, where no others do."""
    network = model.network
    for trunk in (network.scene, network.figure):
        trunk.join, place = nn.Identity(), _take_out(trunk.stem, 1)
        _replace_cbr(trunk.stem[0], JoinedStem(trunk.stem[0][0], model.normalise))
        trunk.context = JoinedContext(trunk.context)
        for cbr in [trunk.stages[0][0], *([network.mask_head[0]] if trunk is network.figure else [])]:
            _replace_cbr(cbr, OffsetConv(cbr[0], place, "relu"))
    for head in (network.scene_head, network.figure_head):
        place = _take_out(head, 0)
        _replace_cbr(head[1], OffsetConv(head[1][0], place, "relu"))
    model.normalise = nn.Identity()


def _take_out(layers: nn.Sequential, number: int) -> nn.Module:
    taken, layers[number] = layers[number], nn.Identity()
    return taken


def _replace_cbr(cbr: nn.Sequential, conv: nn.Module) -> None:
    """By a convolution that the ReLU is part of; the batch norm is folded."""
    cbr[0], cbr[2] = conv, nn.Identity()


def _use_onednn(model: nn.Module) -> None:
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            layers = [number for number, layer in enumerate(module) if not isinstance(layer, nn.Identity)]
            for first, second in itertools.pairwise(layers):
                if type(module[first]) is nn.Conv2d and isinstance(module[second], nn.ReLU):
                    module[first], module[second] = OneDnnConv(module[first], "relu"), nn.Identity()
    _replace_convs(model, OneDnnConv)
    _replace(model, SeparableBlock, JoinedBlock)


def _replace_convs(model: nn.Module, replace: Callable[[nn.Conv2d], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and not isinstance(module, Place):
                setattr(module, name, replace(child))


def _replace(model: nn.Module, kind: type[nn.Module], replace: Callable[[nn.Module], nn.Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is kind:
                setattr(module, name, replace(child))


def _raise_to_2d(conv: nn.Conv1d) -> nn.Conv2d:
    inputs, outputs, (length,), (padding,) = conv.in_channels, conv.out_channels, conv.kernel_size, conv.padding
    raised = nn.Conv2d(inputs, outputs, (1, length), padding=(0, padding))
    raised.weight, raised.bias = nn.Parameter(conv.weight.detach()[:, :, None]), conv.bias
    return raised


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
