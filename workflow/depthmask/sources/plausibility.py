"""Judges whether the values of a whole source can mean what params.yaml declares.

No single file is wrong: a dark mask or a near wall may be right. A set of masks of which none passes 127 of 255 cannot be alpha.
The same pass runs where a source is checked (on all of it, or on NUM_SAMPLED pre-composited samples) and where it is packed (on
all). Each finding gives a file, the value found, the value expected, and the key to set; what cannot be right is an error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from depthmask.base.errors import UserError
from depthmask.data.cutouts import OPAQUE, SIDE_WARNED_PX, SOLID, VISIBLE
from depthmask.data.formats import JPEG_SUFFIXES
from depthmask.data.images import MASK_THRESHOLD
from depthmask.data.lossy import BAND_PX
from depthmask.params import DepthParams, DownloadParams, MaskParams
from depthmask.sources.value_statistics import (
    END,
    FOREGROUND,
    GREY_LEVELS,
    LEVEL,
    CutoutValues,
    DepthValues,
    MaskValues,
    find_quantile,
)

CLASSES_MAX = 64  # distinct values; alpha with soft edges has more
CLASSES_LISTED = 6
FLAT_SHARE = 0.6  # of the grey pixels: above it, they are areas and not edges
GREY_SHARE, GREY_SHARE_SURE = 0.1, 0.5  # of the pixels that are not background: grey areas among them
BLACK_SHARE = 0.1  # of the pixels that are 0: then values of 1 to 7 are not how JPEG writes black
PHOTO_SHARE = 0.5  # of all pixels that are grey: soft edges never are
TRIMAP = (126, 129)  # of 255: how trimaps mark what is undecided
SOME = 0.1  # of the masks or maps: a mixture of two kinds of files
MOST, NEARLY_ALL = 0.8, 0.9
FEW_MASKS, FEW_MAPS = 4, 5  # fewer say nothing about a habit of the whole set
ABOVE_SHARE = 0.25  # of the known pixels above raw_max: more than sky and windows
EIGHT_BITS = 255
SURE_FACTOR = 4  # raw_max above 4 x 255: 8-bit maps would use less than a quarter of the range
DEEP_SHARE = 0.02  # of raw_max: 16-bit maps that stay below it are declared wrong, or show a desk
SMALL_SHARE = 0.25  # of raw_max: the same, if raw_max is not one of the usual steps per metre
USUAL_STEPS = (100, 256, 1000, 5000)  # per metre: centimetres, KITTI, millimetres, TUM
FITTING_SHARE = 0.05  # of raw_max: floating-point values up to it that would be right as metres are metres
NORMALISED = 0.005
ZERO_SHARE = 0.005  # of the pixels: zeros that may mean "not measured"
ZERO_GAP = 0.5  # of the 1st percentile of the other values: nothing is between 0 and this
NEARLY_ZERO = 4  # of 255, in lossy files, where holes are blurred: what is between may be half as much
LOSSY_QUANTILE = 0.25
TOPS = (255, 65535)  # what cameras and tools write where nothing was measured, if it is far above the next value
TOP_GAP = 2
NEAREST_M, FARTHEST_M = 0.1, 1000.0  # medians that hardly any scene has


class Finding(NamedTuple):
    """What is odd about a source, in one line; is_error: it cannot be right."""

    line: str
    is_error: bool = False


def raise_errors(findings: list[Finding], download: DownloadParams) -> list[str]:
    """The lines of the warnings.

    Raises:
        UserError: there is an error among them; it begins with the address of the source.
    """
    for finding in findings:
        if finding.is_error:
            raise UserError(f"{download.urls[0] if download.urls else download.path}: {finding.line}")
    return [finding.line for finding in findings]


def judge_masks(
    masks: MaskValues, folder: str, rule: MaskParams | None = None, num_inverse: int = 0, num_compared: int = 0
) -> list[Finding]:
    """Findings on all masks; folder: theirs, for messages. rule: download.mask.

    num_inverse: how many of num_compared masks mark what is the same in the composite and in its clean background.
    """
    if not masks.num:
        return []
    values = np.flatnonzero(masks.counts)
    counts = masks.counts[values]
    peak, is_deep = int(values[-1]), bool((values % LEVEL).any())
    if peak == 0 and rule is not None and rule.foreground is not None:
        line = f"{folder}: no pixel of {masks.num} masks has a value of download.mask.foreground, {rule.foreground}"
        return [Finding(f"{line}, so all are empty; correct it: depthmask check --data without it lists the values", True)]
    if peak < FOREGROUND and not masks.num_faint:
        values_are = "every value is 0" if peak == 0 else f"only specks are above 0, up to {_show(peak, is_deep)}"
        return [Finding(f"{folder}: all {masks.num} masks are empty: {values_are}; is this the right folder?")]
    if peak < FOREGROUND:
        return [_explain_dark(masks, values, folder, peak, is_deep)]
    if num_compared and 2 * num_inverse > num_compared:
        line = (
            f"{folder}: in {num_inverse} of {num_compared} compared composites the mask is 255 where the clean background shows"
        )
        return [Finding(f"{line} and 0 where the subject is; expected the reverse: {_reverse(rule)}", True)]
    findings = [*_find_classes(masks, values, counts, folder, is_deep)]
    num_shaped = masks.num - masks.num_empty - masks.num_full
    if masks.num_full == masks.num:
        line = f"{folder}: all {masks.num} masks are full: no value below {MASK_THRESHOLD} of 255"
        findings.append(Finding(f"{line}; is this the right folder?"))
    elif masks.num_framed >= FEW_MASKS and masks.num_framed > SOME * num_shaped:
        line = f"{masks.first['framed']}: {masks.num_framed} of {masks.num} masks are foreground nearly all around their border"
        hint = _reverse(rule) if masks.num_framed > MOST * num_shaped else "invert these files, because the others are not"
        findings.append(Finding(f"{line}; expected there: background, 0; if they are inverted, {hint}"))
    findings += _find_dark(masks, peak, is_deep)
    if 2 * (masks.num_empty - masks.num_faint) > masks.num > masks.num_empty:
        findings.append(Finding(f"{masks.first['empty']}: {masks.num_empty} of {masks.num} masks are empty, with no foreground"))
    return findings


def _find_dark(masks: MaskValues, peak: int, is_deep: bool) -> list[Finding]:
    """Masks of other values than the rest; a few dim ones may be translucent or blurred."""
    is_common = masks.num_faint > SOME * masks.num
    num = masks.num_faint if is_common else masks.num_numbered
    if not num:
        return []
    first = masks.first["faint" if is_common else "numbered"]
    line = f"{first}: {num} of {masks.num} masks {'has' if num == 1 else 'have'} values above 0 but none above"
    line += f" {MASK_THRESHOLD - 1} of 255"
    return [Finding(f"{line}, which is read as empty; the others reach {_show(peak, is_deep)}; save all alike")]


def _reverse(rule: MaskParams | None) -> str:
    """What to set so that foreground and background change places."""
    if rule is None:
        return "set download.mask to {invert: true}"
    if rule.by_value:
        one, other = ("foreground", "background") if rule.foreground is not None else ("background", "foreground")
        return f"name the values of download.mask.{one} under {other} instead"
    return "set download.mask.invert to " + ("false" if rule.invert else "true")


def judge_depth(depths: DepthValues, scale: DepthParams, folder: str) -> list[Finding]:
    """Findings on all depth maps; folder: theirs, for messages."""
    if not depths.num:
        return []
    if depths.num_blank == depths.num:
        line = f"{folder}: no pixel of {depths.num} depth maps is known: all are {_describe_unknown(depths, scale)}"
        hint = "" if scale.raw_unknown is None else ": correct download.depth.raw_unknown, or the files"
        return [Finding(f"{line}; expected measurements{hint}", True)]
    values, counts = depths.list_values()
    if not len(values):  # floating-point zeros are not listed
        return [Finding(f"{folder}: no value of {depths.num} depth maps is above 0; expected measurements", True)]
    findings = _judge_range(depths, scale, values, counts, folder)
    if not findings:
        findings += _judge_metres(depths, scale, values, counts, folder)
        findings += _judge_ends(depths, scale)
    findings += _judge_unknown(depths, scale, values, counts, folder)
    num_tilted = depths.num_near_top + depths.num_near_bottom
    if num_tilted >= FEW_MAPS and depths.num_near_top > MOST * num_tilted:
        other = "near_is_large" if scale.polarity == "near_is_small" else "near_is_small"
        line = f"{depths.first['near_top']}: as declared, the bottom of the image is farther away than its middle in"
        line += f" {depths.num_near_top} of {num_tilted} depth maps, where the floor is usually nearer"
        findings.append(Finding(f"{line}; look at them with depthmask show --source, or set download.depth.polarity to {other}"))
    if depths.num_constant == depths.num - depths.num_blank:
        line = f"{folder}: each of {depths.num} depth maps has one value everywhere, such as {_number(values[0])}"
        findings.append(Finding(f"{line}; expected a scene: are these depth maps?"))
    elif depths.num_constant:
        findings.append(
            Finding(f"{depths.first['constant']}: {depths.num_constant} of {depths.num} depth maps have one value everywhere")
        )
    return findings


def judge_cutouts(cutouts: CutoutValues) -> list[Finding]:
    """Findings on all cut-outs."""
    findings = []
    first, num = cutouts.first, cutouts.num
    if cutouts.num_hollow >= FEW_MASKS and cutouts.num_hollow > MOST * num:
        line = f"{first['hollow']}: {cutouts.num_hollow} of {num} cut-outs are opaque all around and transparent inside"
        findings.append(Finding(f"{line}; if alpha is inverted, invert it: 255 is the subject"))
    if cutouts.num_rectangles:
        line = f"{first['rectangle']}: {cutouts.num_rectangles} of {num} cut-outs fill a rectangle"
        findings.append(Finding(f"{line}, so that nothing seems to be cut out; if they are photos, remove their backgrounds"))
    if cutouts.num_small:
        line = f"{first['small']}: {cutouts.num_small} of {num} cut-outs show a subject of less than {SIDE_WARNED_PX} px"
        findings.append(Finding(f"{line}, which would be enlarged; use larger ones"))
    if cutouts.num_faint:
        line = f"{first['faint']}: {cutouts.num_faint} of {num} cut-outs are translucent everywhere: no alpha is above"
        findings.append(Finding(f"{line} {OPAQUE - 1} of 255; expected 255 inside the subject: scale their alpha"))
    if cutouts.num_haloed:
        line = f"{first['haloed']}: in {cutouts.num_haloed} of {num} cut-outs a faint halo or shadow, with alpha of {VISIBLE} to"
        findings.append(Finding(f"{line} {SOLID - 1} of 255, reaches far beyond the subject, which is placed by it; remove it"))
    return findings


def _explain_dark(masks: MaskValues, values: np.ndarray, folder: str, peak: int, is_deep: bool) -> Finding:
    """Why no mask has foreground."""
    line = (
        f"{masks.first['faint']}: no value of {masks.num} masks in {folder} is above {_show(peak, is_deep)}; expected alpha up to"
    )
    line += f" {65535 if is_deep else 255}, foreground from {FOREGROUND if is_deep else MASK_THRESHOLD}"
    shown = [_level(value, is_deep) for value in values]
    is_soft = masks.num_flat_px < FLAT_SHARE * masks.num_grey_px
    if masks.first["faint"].lower().endswith(JPEG_SUFFIXES):
        return Finding(f"{line}; export the masks as PNG, scaled to the full range: JPEG does not keep class numbers", True)
    if is_soft or len(shown) > CLASSES_MAX:
        return Finding(f"{line}; scale the masks to the full range", True)
    numbers = [number for number in shown if number]
    key = f"set download.mask to {{foreground: [{numbers[0]}]}}"
    if len(numbers) == 1:
        return Finding(f"{line}; if {numbers[0]} is the foreground, {key}", True)
    listed = ", ".join(map(str, numbers[:CLASSES_LISTED])) + (", ..." if len(numbers) > CLASSES_LISTED else "")
    return Finding(f"{line}; if {listed} are class numbers, {key} or others", True)


def _find_classes(masks: MaskValues, values: np.ndarray, counts: np.ndarray, folder: str, is_deep: bool) -> list[Finding]:
    """Class numbers among which some are above 127, recognised by flat grey areas; or photos, by grey everywhere."""
    num_grey, num_flat, lowest = masks.num_grey_px, masks.num_flat_px, GREY_LEVELS[0]
    is_few, top = len(values) <= CLASSES_MAX, 65535 if is_deep else 255
    if is_few and masks.counts[0] > BLACK_SHARE * counts.sum():  # else values of 1 to 7 are what matting or JPEG leaves
        num_grey, num_flat, lowest = num_grey + masks.num_low_px, num_flat + masks.num_low_flat_px, 1 / LEVEL
    num_shown = int(counts[values >= lowest * LEVEL].sum())
    if num_flat < FLAT_SHARE * num_grey:
        share = masks.num_grey_px / counts.sum()
        line = f"{folder}: {share:.0%} of the pixels of {masks.num} masks are neither background nor foreground, but between"
        hint = f"expected alpha, mostly 0 and {top}: are these masks?"
        return [Finding(f"{line}; {hint}")] if share > PHOTO_SHARE else []
    if not num_grey or num_grey < GREY_SHARE * num_shown:
        return []
    is_sure = is_few and num_grey > GREY_SHARE_SURE * num_shown
    grey = sorted((value for value in values if lowest <= value / LEVEL <= GREY_LEVELS[1]), key=lambda v: -masks.counts[v])
    levels = [_level(value, is_deep) for value in grey]
    listed = ", ".join(map(str, sorted(levels[:CLASSES_LISTED])))
    share = num_grey / num_shown
    line = f"{folder}: {share:.0%} of what {masks.num} masks mark are even areas of values between 0 and {top}, such as {listed}"
    if len(grey) == 1 and TRIMAP[0] <= grey[0] / LEVEL <= TRIMAP[1] and values[-1] == 65535:
        key = f"if they are trimaps, set download.mask to {{foreground: [{top}], ignore: {levels}}}"
    else:
        key = f"if they are class numbers, set download.mask to {{foreground: [{levels[0]}]}} or others"
    return [Finding(f"{line}; expected alpha, {top} for the subject; {key}", is_sure)]


def _judge_range(depths: DepthValues, scale: DepthParams, values: np.ndarray, counts: np.ndarray, folder: str) -> list[Finding]:
    """Whether the values fit raw_max, or, without one, max."""
    limit, peak = scale.raw_max or scale.max, values[-1]
    key = f"download.depth.{'max' if scale.raw_max is None else 'raw_max'}"
    findings = []
    if limit > EIGHT_BITS >= peak and depths.num_floating == 0:
        line = f"{folder}: no value of {depths.num} depth maps is above {_number(peak)} although {key} is {limit:g}"
        is_sure = depths.num_eight_bits == depths.num and limit > SURE_FACTOR * EIGHT_BITS
        hint = "set raw_max to 255 for 8-bit maps, and max to the depth that 255 stands for"
        findings.append(Finding(f"{line}, {_describe_reach(peak / limit, scale)}; {hint}", is_sure))
    elif 0 < depths.num_eight_bits < depths.num and "deep" in depths.first and limit > EIGHT_BITS:
        line = f"{depths.first['eight_bits']}: {depths.num_eight_bits} of {depths.num} depth maps have 8 bits, but"
        line += f" {depths.first['deep']} has 16, and {key} is {limit:g} for all"
        findings.append(Finding(f"{line}; save all alike"))
    elif peak < DEEP_SHARE * limit:
        line = f"{folder}: no value of {depths.num} depth maps is above {_number(peak)}, {peak / limit:.1%} of {key}, {limit:g}"
        findings.append(Finding(f"{line}, {_describe_reach(peak / limit, scale)}; correct raw_max or max"))
    elif depths.num_floating == depths.num and scale.raw_max is not None and peak <= scale.max < limit * SMALL_SHARE:
        line = f"{folder}: no floating-point value of {depths.num} depth maps is above {_number(peak)}, as if they were in"
        line += f" {scale.unit}s" if scale.unit == "metre" else " units of download.depth.max"
        line += f", {scale.max:g} at most, but {key} is {limit:g}, {_describe_reach(peak / limit, scale)}"
        findings.append(Finding(f"{line}; if so, set raw_max to null", bool(peak < FITTING_SHARE * limit)))
    elif not depths.num_eight_bits and _is_unusual(scale) and peak < SMALL_SHARE * limit:
        line = f"{folder}: no value of {depths.num} depth maps is above {_number(peak)}, {peak / limit:.0%} of {key}, {limit:g}"
        hint = "if they are millimetres, set raw_max to 20000 with max: 20.0"
        findings.append(Finding(f"{line}, {_describe_reach(peak / limit, scale)}; {hint}"))
    counted = values > 0  # 0 may mean "not measured" without being declared
    above = counts[values > limit].sum() / max(1, counts[counted].sum())
    if above > ABOVE_SHARE:
        line = (
            f"{folder}: {above:.0%} of the values of {depths.num} depth maps are above {key}, {limit:g}, up to {_number(peak)},"
        )
        read = _show_depth(scale.max if scale.polarity == "near_is_small" else 0.0, scale)
        hint = "set raw_max to the value that max stands for: 20000 with max: 20.0 if they are millimetres"
        findings.append(Finding(f"{line} and are read as {read}; {hint}", bool(above > NEARLY_ALL)))
    return findings


def _is_unusual(scale: DepthParams) -> bool:
    """Whether raw_max and max are no usual number of steps per metre, as of 16-bit maps that use the whole range."""
    return scale.unit == "metre" and scale.raw_max is not None and round(scale.raw_max / scale.max) not in USUAL_STEPS


def _judge_ends(depths: DepthValues, scale: DepthParams) -> list[Finding]:
    """Single maps on another scale than the rest."""
    findings = []
    for name, num, where in (
        ("near_end", depths.num_near_end, f"nearer than {_show_depth(END * scale.max, scale)}"),
        ("far_end", depths.num_far_end, f"farther than {_show_depth((1 - END) * scale.max, scale)}"),
    ):
        if 0 < num < depths.num - depths.num_blank:
            line = f"{depths.first[name]}: as declared, everything is {where} in {num} of {depths.num} depth maps"
            findings.append(Finding(f"{line}; are they stored on another scale than the others?"))
    return findings


def _judge_metres(depths: DepthValues, scale: DepthParams, values: np.ndarray, counts: np.ndarray, folder: str) -> list[Finding]:
    """Whether a scene can have these depths."""
    if scale.unit != "metre":
        return []
    if depths.num_floating == depths.num and scale.raw_max is None and scale.max > 1 and abs(values[-1] - 1) < NORMALISED:
        line = f"{folder}: the largest of the floating-point values of {depths.num} depth maps is 1, as if they were normalised"
        return [Finding(f"{line}, but download.depth declares metres; if so, set unit to relative and max to 1.0")]
    metres, counts = decode_values(values, counts, scale)
    median = find_quantile(metres, counts, 0.5)
    if NEAREST_M <= median <= FARTHEST_M:
        return []
    line = f"{folder}: half of the known depth is {'below' if median < NEAREST_M else 'above'} {median:,.4g} m"
    expected = f"expected a scene of {NEAREST_M:g} to {FARTHEST_M:,.0f} m"
    return [Finding(f"{line}; {expected}: correct download.depth.raw_max and max")]


def decode_values(values: np.ndarray, counts: np.ndarray, scale: DepthParams) -> tuple[np.ndarray, np.ndarray]:
    """Stored values as depth in the source's unit, in increasing order, and their counts in the same order."""
    depth = np.minimum(values / (scale.raw_max or scale.max), 1)
    if scale.polarity == "near_is_large":
        return (1 - depth[::-1]) * scale.max, counts[::-1]
    return depth * scale.max, counts


def _judge_unknown(depths: DepthValues, scale: DepthParams, values: np.ndarray, counts: np.ndarray, folder: str) -> list[Finding]:
    """Zeros that nobody declared, values that are unknown by compression, and maps of which nothing is known."""
    findings = _find_gaps(depths, scale, values, counts, folder) if scale.polarity == "near_is_small" else []
    if depths.num_lossy and depths.num_band_px:
        line = f"{depths.first['lossy']}: {depths.num_lossy} of {depths.num} depth maps are JPEG or another lossy format, which"
        line += f" blurs the edges of unknown areas; {depths.num_band_px / depths.num_px:.1%} of the pixels, up to {BAND_PX} px"
        line += " away from them, count as unknown too"
        findings.append(Finding(f"{line}; expected a lossless format: save depth as PNG"))
    if depths.num_blank:
        line = f"{depths.first['blank']}: nothing is known in {depths.num_blank} of {depths.num} depth maps"
        findings.append(Finding(f"{line}: every pixel is {_describe_unknown(depths, scale)}"))
    return findings


def _find_gaps(depths: DepthValues, scale: DepthParams, values: np.ndarray, counts: np.ndarray, folder: str) -> list[Finding]:
    """Zeros, or values at the top of the range, that are far from all others: they may mean "not measured"."""
    findings = []
    few = ZERO_SHARE * depths.num_px
    is_zero = values <= (NEARLY_ZERO if depths.num_lossy == depths.num else 0)  # in lossy files zeros are spread
    zeros = counts[is_zero].sum()
    if scale.raw_unknown is None and few < zeros < counts.sum():
        others = values[~is_zero], counts[~is_zero]
        low = find_quantile(*others, LOSSY_QUANTILE if depths.num_lossy else 0.01)
        between = others[1][others[0] <= ZERO_GAP * low].sum()
        if (
            between <= (zeros / 2 if depths.num_lossy else 0)
            and ZERO_GAP * low > 2 * NEARLY_ZERO * (depths.num_lossy > 0)
            and low > 0.01 * others[0][-1]
        ):
            line = f"{folder}: {zeros / depths.num_px:.1%} of the pixels of {depths.num} depth maps are 0"
            line += "" if depths.num_lossy else f", and the next value is {_number(others[0][0])}"
            hint = "if 0 means not measured, set download.depth.raw_unknown to 0: now it is read as a depth of 0"
            findings.append(Finding(f"{line}; {hint}"))
    top = values[-1]
    if len(values) > 1 and top in TOPS and counts[-1] > few and top > TOP_GAP * values[-2] and not depths.num_floating:
        line = f"{folder}: {counts[-1] / depths.num_px:.1%} of the pixels of {depths.num} depth maps are {top:.0f}, and the next"
        key = "set download.depth.raw_unknown to it" if scale.raw_unknown is None else f"make it {scale.raw_unknown}"
        hint = f"if it means not measured, {key}: now it is read as {_show_depth(scale.max, scale)}"
        findings.append(Finding(f"{line} value below is {_number(values[-2])}; {hint}"))
    return findings


def _describe_unknown(depths: DepthValues, scale: DepthParams) -> str:
    """The values that are not measurements."""
    never = "NaN or infinite" if depths.num_floating else ""
    if scale.raw_unknown is None:
        return never
    below = " or below" if depths.num_floating and scale.raw_unknown == 0 else ""
    return f"{scale.raw_unknown}{below}" + (f", {never}" if never else "") + " (download.depth.raw_unknown)"


def _level(value: int, is_deep: bool) -> int:
    """A value of 65535 as in the files."""
    return int(value) if is_deep else int(value) // LEVEL


def _show(value: int, is_deep: bool) -> str:
    return f"{_level(value, is_deep)} of {65535 if is_deep else 255}"


def _number(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _describe_reach(share: float, scale: DepthParams) -> str:
    """What is read where no value is above this share of raw_max."""
    if scale.polarity == "near_is_large":
        return f"so all depth is read as {_show_depth((1 - share) * scale.max, scale)} or more"
    return f"so all depth is read as {_show_depth(share * scale.max, scale)} or less"


def _show_depth(depth: float, scale: DepthParams) -> str:
    return f"{depth:.3g} m" if scale.unit == "metre" else f"{depth:.3g}"
