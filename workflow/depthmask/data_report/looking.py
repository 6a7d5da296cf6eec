"""Reads a source, or evenly spaced parts of it, and describes each kind of file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from depthmask.base.errors import UserError
from depthmask.base.terminal import count, track
from depthmask.data.images import MASK_THRESHOLD
from depthmask.data.sample import Background, Cutout
from depthmask.data_report.painting import fit_square, paint_background, paint_cutout, paint_overlay
from depthmask.params import DepthParams
from depthmask.pictures.colours import find_depth_range, paint_depth, paint_mask
from depthmask.sources import Source
from depthmask.sources.assets import AssetsSource
from depthmask.sources.layout import choose_spread
from depthmask.sources.plausibility import Finding, decode_values, judge_cutouts, judge_depth
from depthmask.sources.pre_composited import FileMaps, PreCompositedSource
from depthmask.sources.sanity_checks import SanityChecks
from depthmask.sources.unread import describe_unread
from depthmask.sources.value_statistics import CutoutValues, DepthValues, find_quantile

NUM_READ = 300  # files of a kind, by default
NUM_EXAMPLES, EXAMPLE_PX = 12, 192
NUM_BARS = 12
KINDS_SHOWN, SIZES_SHOWN = 8, 3
TRUTHS = ("masks", "depth maps")  # kinds of which a sample may have none
SHARES = (0.01, 0.5, 0.99)
NICE_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)

Bars = list[tuple[str, float]]  # a label, and a share of 0..1


@dataclass
class KindReport:
    """One kind of file. facts: label and value. bars: a histogram. examples: title, and images by caption."""

    name: str
    num: int
    num_read: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    histogram: str = ""
    bars: Bars = field(default_factory=list)
    examples: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)


@dataclass
class DataReport:
    """left_out: samples that were skipped, and why. unread: a line for each kind of file that is not read."""

    where: str
    layout: str
    kinds: list[KindReport]
    findings: list[Finding]
    left_out: list[dict[str, str]]
    unread: list[str]

    def explained(self, explain: Callable[[str], str]) -> DataReport:
        """The same with `explain` of each message."""
        findings = [finding._replace(line=explain(finding.line)) for finding in self.findings]
        left_out = [entry | {"reason": explain(entry["reason"])} for entry in self.left_out]
        return replace(self, findings=findings, left_out=left_out, unread=[explain(line) for line in self.unread])


def look_at_data(source: Source, where: str, num_max: int | None = NUM_READ, with_examples: bool = False) -> DataReport:
    """Describe a source; num_max: how many of each kind to read (None: all of them).

    What cannot be read is listed in `left_out`; nothing is raised for it.
    """
    unread = describe_unread(source.root, source.list_folders(), source.expected_folders)  # before anything is skipped
    look = _look_at_composites if isinstance(source, PreCompositedSource) else _look_at_assets
    kinds, findings, errors = look(source, num_max, with_examples)
    findings = [*(Finding(line) for line in source.warnings), *findings]
    unread_kinds = [kind for kind in kinds if kind.name not in TRUTHS and kind.num and not kind.num_read]
    if errors and unread_kinds:
        key, error = errors[0 if unread_kinds[0] is kinds[0] else -1]  # those of the kinds follow each other
        findings.append(Finding(f"none of the {unread_kinds[0].name} can be read, such as {key}: {error}", True))
    left_out = [*source.skipped, *({"key": key, "reason": str(error)} for key, error in errors)]
    return DataReport(where, source.download.source, kinds, findings, left_out, unread)


def _look_at_assets(
    source: AssetsSource, num_max: int | None, with_examples: bool
) -> tuple[list[KindReport], list[Finding], list[tuple[str, UserError]]]:
    depths, cutout_values, errors = DepthValues(), CutoutValues(), []

    def read(keys: Sequence[str], what: str, function: Callable) -> Iterable[tuple[str, Background | Cutout]]:
        for key in track(_choose(keys, num_max), "reading", what):
            try:
                yield key, function(key)
            except UserError as error:
                errors.append((key, error))

    backgrounds = KindReport("backgrounds", len(source.backgrounds), 0)
    sizes, kinds, num_cameras = Counter(), Counter(), 0
    shown = _choose_shown(source.backgrounds, num_max, with_examples)
    for key, background in read(source.backgrounds, "backgrounds", lambda key: source.read_background(key, depths)):
        sizes[background.image.shape[1::-1]] += 1
        kinds[source.background_kinds[key]] += 1
        num_cameras += background.camera is not None
        if key in shown:
            pictures = paint_background(background)
            names = {"photo": "image"} | ({"depth": "depth"} if background.depth is not None else {})
            backgrounds.examples.append((key, _fit(pictures, names)))
    backgrounds.num_read = sizes.total()
    backgrounds.facts += [*_describe_sizes(sizes), *_describe_kinds(kinds), ("camera known", f"for {num_cameras}")]

    cutouts = KindReport("cut-outs", len(source.cutouts), 0)
    sizes, kinds, heights, filled = Counter(), Counter(), [], []
    shown = _choose_shown(source.cutouts, num_max, with_examples)
    for key, cutout in read(source.cutouts, "cut-outs", lambda key: source.read_cutout(key, cutout_values)):
        sizes[cutout.rgba.shape[1::-1]] += 1
        kinds[source.cutout_kinds[key]] += 1
        filled.append(float((cutout.rgba[..., 3] >= MASK_THRESHOLD).mean()))
        if cutout.units_per_px is not None:
            heights.append(cutout.rgba.shape[0] * cutout.units_per_px)
        if key in shown:
            names = {"cut-out": "image", "mask": "mask"} | ({"relief": "depth"} if cutout.relief is not None else {})
            cutouts.examples.append((key, _fit(paint_cutout(cutout), names)))
    cutouts.num_read = sizes.total()
    trimmed = f"{cutout_values.num_trimmed} had empty canvas around the subject"
    cutouts.facts += [*_describe_sizes(sizes), *_describe_kinds(kinds), ("trimmed", trimmed)]
    cutouts.facts += [("foreground", _describe_shares(filled, "of the trimmed canvas"))] if filled else []
    known = (
        f"{min(heights):.2g} to {max(heights):.2g} m, for {len(heights)}" if heights else "unknown: placed by compose.scale_min"
    )
    cutouts.facts.append(("height", known))
    reports = [backgrounds, *_describe_depth(depths, source.scale, len(source.backgrounds)), cutouts]
    return reports, [*judge_depth(depths, source.scale, "bg_depth"), *judge_cutouts(cutout_values)], errors


def _look_at_composites(
    source: PreCompositedSource, num_max: int | None, with_examples: bool
) -> tuple[list[KindReport], list[Finding], list[tuple[str, UserError]]]:
    checks, errors = SanityChecks(), []
    images = KindReport(source.noun, len(source.composites), 0)
    masks = KindReport("masks", 0, 0)
    sizes, shares, num_clean = Counter(), [], 0
    shown = _choose_shown([composite.key for composite in source.composites], num_max, with_examples)
    for composite in track(_choose(source.composites, num_max), "reading", source.noun):
        try:
            maps = source.read_maps(composite.key)
            checks.look_at(source, composite, maps)
        except UserError as error:
            errors.append((composite.key, error))
            continue
        sizes[maps.image.shape[1::-1]] += 1
        num_clean += source.has_clean(composite)
        if maps.alpha is not None:
            shares.append(float((maps.alpha >= 0.5).mean()))
        if composite.key in shown:
            images.examples.append((composite.key, _paint_maps(source, maps)))
    images.num_read, masks.num_read, masks.num = sizes.total(), len(shares), source.num_masks
    backgrounds, cutouts = ({getattr(c, kind) for c in source.composites} - {None} for kind in ("background", "cutout"))
    of = f"{count(len(backgrounds), 'background')}, {count(len(cutouts), 'cut-out') if cutouts else 'cut-outs unknown'}"
    images.facts += [*_describe_sizes(sizes), *([] if source.may_lack_truth else [("made of", of)])]
    images.facts.append(("clean background", f"known for {num_clean}"))
    if shares:
        masks.facts.append(("foreground", _describe_shares(shares, "of the image")))
        for label, kind in (("empty", "empty"), ("full", "full"), ("foreground all around", "framed")):
            num, first = getattr(checks.masks, f"num_{kind}"), checks.masks.first.get(kind)
            masks.facts.append((label, f"{num}, such as {first}" if first else str(num)))
        masks.histogram, masks.bars = "share of foreground in the image", _count_shares(shares)
    depths = _describe_depth(checks.depths, source.scale, source.num_depths)
    return [images, *([masks] if masks.num else []), *depths], checks.judge(source), errors


def _paint_maps(source: PreCompositedSource, maps: FileMaps) -> dict[str, np.ndarray]:
    """What is known of a composite, by caption."""
    pictures = {"photo": maps.image}
    if maps.alpha is not None:
        pictures |= {"mask over photo": paint_overlay(maps.image, maps.alpha), "mask": paint_mask(maps.alpha)}
    if maps.raw_depth is not None:
        depth, valid = source.decode_depth(maps)
        pictures["depth"] = paint_depth(depth, find_depth_range(depth, valid), valid)
    return _fit(pictures, {caption: caption for caption in pictures})


def _describe_depth(depths: DepthValues, scale: DepthParams, num: int) -> list[KindReport]:
    """The depth maps, if there are any."""
    if not depths.num:
        return []
    report = KindReport("depth maps", num, depths.num)
    num_deep = depths.num - depths.num_eight_bits - depths.num_floating
    types = {"8 bits": depths.num_eight_bits, "16 bits": num_deep, "floating point": depths.num_floating}
    report.facts.append(("type", ", ".join(f"{name}: {number}" for name, number in types.items() if number)))
    share = depths.num_unknown_px / depths.num_px
    report.facts.append(
        ("unknown", f"{share:.1%} of the pixels" + (f"; in lossy files: {depths.num_lossy}" if depths.num_lossy else ""))
    )
    values, counts = depths.list_values()
    if not counts.sum():
        return [report]
    limit = scale.raw_max or scale.max
    report.facts.append(("values", f"{values[0]:g} to {values[-1]:g}; {limit:g} stands for {scale.max:g}{_name_unit(scale)}"))
    report.facts.append(("clipped", f"{counts[values > limit].sum() / counts.sum():.1%} of the known pixels are above that"))
    depth, counts = decode_values(values, counts, scale)
    near, half, far = (find_quantile(depth, counts, share) for share in SHARES)
    unit = _name_unit(scale)
    report.facts.append(("depth", f"98% are {near:.3g} to {far:.3g}{unit}, half are below {half:.3g}{unit}"))
    report.histogram = "depth in metres" if scale.unit == "metre" else "depth, as a share of the maximum"
    report.bars = _count_bars(depth, counts, find_quantile(depth, counts, 0.995), scale.max)
    return [report]


def _count_bars(depth: np.ndarray, counts: np.ndarray, far: float, most: float) -> Bars:
    """Up to NUM_BARS steps of a round width from 0 to what hardly anything exceeds, and one for the rest."""
    step = _round_up(max(min(far, most), most * 1e-6) / NUM_BARS)
    edges = [edge for edge in np.arange(NUM_BARS + 1) * step if edge < most * (1 - 1e-9)]
    edges.append(min(edges[-1] + step, most))
    places = np.searchsorted(edges, depth, side="right") - 1
    numbers = np.bincount(places.clip(0), weights=counts, minlength=len(edges)) / counts.sum()
    bars = [(f"{low:g} to {high:g}", float(share)) for low, high, share in zip(edges[:-1], edges[1:], numbers)]
    while bars and not bars[-1][1]:
        bars.pop()
    return [*bars, (f"{edges[-1]:g} or more", float(numbers[-1]))] if numbers[-1] > 5e-4 else bars


def _round_up(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return float(f"{next(nice * power for nice in NICE_STEPS if nice * power >= step * (1 - 1e-9)):.12g}")


def _count_shares(shares: list[float]) -> Bars:
    """In steps of a tenth; the first without the empty ones."""
    edges = np.arange(1, 11) / 10
    places = np.searchsorted(edges, [share for share in shares if share], side="left")
    numbers = np.bincount(np.minimum(places, 9), minlength=10)
    bars = [("0%", sum(share == 0 for share in shares) / len(shares))]
    return bars + [(f"to {edge:.0%}", int(n) / len(shares)) for edge, n in zip(edges, numbers, strict=True)]


def _describe_shares(shares: list[float], of: str) -> str:
    return f"{min(shares):.1%} to {max(shares):.1%} {of}, on average {sum(shares) / len(shares):.1%}"


def _describe_sizes(sizes: Counter) -> list[tuple[str, str]]:
    """Width x height: one, or the range with the most frequent ones."""
    if not sizes:
        return []
    if len(sizes) == 1:
        return [("size", "{} x {} px".format(*next(iter(sizes))))]
    widths, heights = zip(*sizes, strict=True)
    often = ", ".join(f"{width} x {height} ({n})" for (width, height), n in sizes.most_common(SIZES_SHOWN) if n > 1)
    line = f"{min(widths)} to {max(widths)} px wide, {min(heights)} to {max(heights)} px high"
    return [("size", line + (f"; most often {often}" if often else ""))]


def _describe_kinds(kinds: Counter) -> list[tuple[str, str]]:
    named = [f"{kind} {n}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], str(item[0]))) if kind is not None]
    if not named:
        return []
    more = f" and {len(named) - KINDS_SHOWN} more" if len(named) > KINDS_SHOWN else ""
    return [("kinds", ", ".join(named[:KINDS_SHOWN]) + more)]


def _choose(items: Sequence, num_max: int | None) -> list:
    return list(items) if num_max is None else choose_spread(items, num_max)


def _choose_shown(keys: Sequence[str], num_max: int | None, with_examples: bool) -> set[str]:
    """Examples among those that are read."""
    return set(choose_spread(_choose(keys, num_max), NUM_EXAMPLES)) if with_examples else set()


def _fit(pictures: dict[str, np.ndarray], names: dict[str, str]) -> dict[str, np.ndarray]:
    return {caption: fit_square(pictures[name], EXAMPLE_PX) for caption, name in names.items()}


def _name_unit(scale: DepthParams) -> str:
    return " m" if scale.unit == "metre" else ""
