"""The data report as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from depthmask.data_report.looking import DataReport, KindReport

BAR_CHARACTERS = 40
LEFT_OUT_SHOWN = 10


def format_report(report: DataReport) -> Iterator[str]:
    """Lines: each kind with its facts and histogram, what was left out and why, and what is odd."""
    yield f"{report.where}: {report.layout}"
    for kind in report.kinds:
        yield ""
        yield from _format_kind(kind)
    yield ""
    yield f"left out: {len(report.left_out) or 'nothing'}"
    for entry in report.left_out[:LEFT_OUT_SHOWN]:
        yield f"  {entry['key']}: {entry['reason']}"
    if len(report.left_out) > LEFT_OUT_SHOWN:
        yield f"  and {len(report.left_out) - LEFT_OUT_SHOWN} more"
    yield f"files that are not read: {'' if report.unread else 'none'}".rstrip()
    yield from (f"  {line}" for line in report.unread)
    yield f"findings: {len(report.findings) or 'none'}"
    for finding in report.findings:
        yield f"  {'error' if finding.is_error else 'warning'}: {finding.line}"


def describe_number(kind: KindReport) -> str:
    """How many files there are, and how many of them were read."""
    return f"{kind.num:,}" + ("" if kind.num_read == kind.num else f", of which {kind.num_read:,} were read")


def _format_kind(kind: KindReport) -> Iterator[str]:
    yield f"{kind.name}: {describe_number(kind)}"
    width = max((len(label) for label, _ in kind.facts), default=0)
    for label, value in kind.facts:
        yield f"  {label:{width}}  {value}"
    if not kind.bars:
        return
    yield f"  {kind.histogram}"
    width = max(len(label) for label, _ in kind.bars)
    most = max(share for _, share in kind.bars)
    for label, share in kind.bars:
        yield f"    {label:>{width}}  {'#' * round(share / most * BAR_CHARACTERS):{BAR_CHARACTERS}}  {share:6.1%}".rstrip()
