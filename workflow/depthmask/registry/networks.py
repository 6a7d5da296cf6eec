"""The networks: one line each, available without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NetworkSpec:
    """A network: the class `cls` in models/`module`.py, its inputs and its outputs.

    system: where it is from; A to D are the published systems. takes_background, needs_background: whether the clean background
    can, or must, be a second input. stride: sides are multiples of it. min_size_px: the smallest side. pads: other sizes are
    padded instead of rejected. mask_gives: logits, or a map of 0..1. standardised: trained on (map - mean) / std.
    has_depth_bins: it also outputs depth bins. has_branches: parts of it serve one task only, see `branches` of its class.
    deepest: how many times smaller the deepest map is, where that is not the stride. has_encoder: it is built on one of
    `registry.encoders`.
    """

    module: str
    cls: str
    system: str
    takes_background: bool = False
    needs_background: bool = False
    stride: int = 1
    min_size_px: int = 16
    pads: bool = False
    mask_gives: Literal["logits", "probability"] = "logits"
    standardised: bool = False
    has_depth_bins: bool = False
    has_branches: bool = False
    deepest: int | None = None
    has_encoder: bool = False

    @property
    def deepest_stride(self) -> int:
        """How many times smaller than the image its deepest map is."""
        return self.deepest or self.stride

    @property
    def is_published(self) -> bool:
        """Whether it belongs to one of the four published systems."""
        return self.system in ("A", "B", "C", "D")


_BOTH, _TWO = {"takes_background": True}, {"takes_background": True, "needs_background": True}

NETWORKS: dict[str, NetworkSpec] = {
    "compact": NetworkSpec("compact", "CompactNet", "depthmask", **_BOTH, stride=16, pads=True, has_branches=True),
    "encoder_decoder": NetworkSpec(
        "encoder_decoder",
        "EncoderDecoder",
        "depthmask",
        **_BOTH,
        stride=4,
        deepest=32,
        pads=True,
        has_branches=True,
        has_encoder=True,
    ),
    "dilated_small": NetworkSpec("dilated", "DilatedNet", "A", stride=2, mask_gives="probability"),
    "dilated_plain": NetworkSpec("dilated", "DilatedNet", "A", stride=2, mask_gives="probability"),
    "dilated_residual": NetworkSpec("dilated", "DilatedNet", "A", stride=2, mask_gives="probability"),
    "dilated_depth_classes": NetworkSpec("dilated", "DilatedNet", "A", stride=2, mask_gives="probability", has_depth_bins=True),
    "resnet18_shuffle": NetworkSpec("resnet18_shuffle", "ResNet18Shuffle", "A", stride=8, mask_gives="probability"),
    "multi_dilation_unet": NetworkSpec("multi_dilation_unet", "MultiDilationUnet", "A", stride=8, mask_gives="probability"),
    "dense_concat": NetworkSpec(
        "dense_concat", "DenseConcat", "B", **_TWO, stride=8, mask_gives="probability", has_branches=True
    ),
    # at 16 px its deepest map would be one pixel, and batch norm cannot train on that in a batch of one
    "branched_unet": NetworkSpec("branched_unet", "BranchedUnet", "C", **_TWO, stride=16, min_size_px=32, has_branches=True),
    "two_stream_separable": NetworkSpec(
        "two_stream_separable", "TwoStreamSeparable", "D", **_TWO, stride=4, mask_gives="probability", standardised=True
    ),
    "smp_unet": NetworkSpec("smp_unet", "SmpUnet", "external", **_BOTH, stride=32, min_size_px=32, pads=True),
}
