"""The file beside the page, which has all that differs from run to run, so that the page itself does not."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from making_reports import CONTEXT, PARAMS, Page, build, make_argv, make_reports, write_run

from depthmask.base.files import write_csv
from depthmask.reporting.context import Changes, Context
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page
from depthmask.reporting.runs_file import choose_runs_path
from stages import report


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return make_reports(tmp_path)


def read_runs(script: str) -> dict:
    """What the file beside the page sets, by Python's own reader of JSON."""
    begin, end = "window.depthmaskRuns = ", ";\n"
    assert script.startswith(begin) and script.endswith(end) and script.isascii()
    return json.loads(script[len(begin) : -len(end)])


def tell_runs(reports: Path, split: Path, context: Context | None = None) -> str:
    """All texts of the file beside the page, in its order."""

    def gather(value) -> list[str]:
        if isinstance(value, dict):
            return [text for key, item in value.items() if key not in ("kind", "as", "page", "label") for text in gather(item)]
        return [text for item in value for text in gather(item)] if isinstance(value, list) else [str(value)]

    runs = read_runs(build_page(read_inputs(reports, split), reports, PARAMS, context).runs)
    return " ".join(" ".join(gather(runs)).split())


@pytest.mark.parametrize("name", ["a page.html", "100%.html", "a:b.html", '"><script>x.html', "ü.htm", "noend"])
def test_the_file_beside_the_page_is_found_under_any_name(folders, name):
    path = folders[0] / name
    write_page(build_page(read_inputs(*folders), folders[0], PARAMS, path=path), path)
    address = Page(path.read_text(encoding="utf-8")).find("script")[0]["src"]
    beside = Path(unquote(urlsplit(urljoin((folders[0] / "x").as_uri(), address)).path))
    assert beside == choose_runs_path(path) and beside.is_file()
    assert read_runs(beside.read_text(encoding="utf-8"))["page"] in path.read_text(encoding="utf-8")


def test_what_the_page_compares_with_is_reported_beside_it(folders):
    printed = tell_runs(*folders, CONTEXT)
    for text in (
        "+0.012, better than the commit 0123456789 (0.800)",
        "−0.135, worse than the commit 0123456789 (0.900)",
        "−0.088, worse than the leaderboard’s best, other_recipe (0.900)",
        "dvc metrics diff 0123456789",
        "key now then seed 7 6",
    ):
        assert text in printed, text
    page = Page(build(*folders, CONTEXT)).text
    assert "pretrain.image_size_px 64 80" in page and "data/raw abc.dir 386 5.6 MB" in page
    alone = tell_runs(*folders)
    assert "the commit 0123" not in alone and "leaderboard" not in alone and "differs from" not in alone
    assert "No changes are shown: because." in tell_runs(*folders, Context(Changes(reason="because")))


def test_facts_of_the_runs_are_beside_it(folders):
    printed = tell_runs(*folders)
    for fact in ("c0ffee", "10 min 00 s", "2025-01-02 10:00 UTC", "git checkout c0ffee", "cores 2", "in 5 min 00 s"):
        assert fact in printed, fact
    assert "uncommitted" not in printed


def test_a_commit_that_is_unknown_is_reported(folders):
    for day, stage in enumerate(("pretrain", "finetune", "evaluate"), start=1):
        write_run(folders[0], stage, day, commit=None, dirty=None)
    assert "The commit is unknown" in tell_runs(*folders)


def test_speed_and_memory_are_reported_where_they_were_measured(folders):
    reports, split = folders
    write_run(reports, "pretrain", 1, extra={"images_per_second": 123.4, "peak_memory_mib": 987})
    printed = tell_runs(reports, split)
    assert "123.4 987 MiB" in printed and "not measured not measured" in printed


def test_changes_that_are_in_no_commit_are_reported(folders):
    reports, split = folders
    write_run(reports, "evaluate", 3, dirty=True, versions={"python": "3.12.0"})
    printed = tell_runs(reports, split)
    assert "had uncommitted changes" in printed and "c0ffee00 , with uncommitted changes" not in printed
    assert printed.count(", with uncommitted changes") == 1
    assert "evaluate: 3.12.0" in Page(build(reports, split)).text


def write_other_runs(reports: Path) -> None:
    """The records of the same stages with all that may differ from run to run: times and their order, machine, commit."""
    for number, path in enumerate(sorted(reports.glob("*/run.json"))):
        run = json.loads(path.read_text())
        run |= {
            "started": f"2031-12-{28 - number}T23:59:59+00:00",
            "seconds": 1e5 + number,
            "hardware": {"processor": "<b>other</b>", "cores": 96, "system": "other", "gpu": "other"},
            "commit": None if number else "f" * 40,
            "dirty": bool(number),
        }
        run["extra"] |= {"peak_memory_mib": 10**6 + number, "images_per_second": 0.5, "num_workers": 7, "device": "cpu"}
        path.write_text(json.dumps(dict(reversed(run.items()))))


def test_no_time_machine_commit_or_comparison_reaches_the_page(folders):
    source = {"name": "demo", "skipped": [], "warnings": []}
    for day, stage in enumerate(("download", "split", "zzz", "pretrain", "finetune", "evaluate"), start=1):
        write_run(folders[0], stage, day, extra={"source": source, "peak_memory_mib": day, "model": {"name": "compact"}})
    before = build_page(read_inputs(*folders), folders[0], PARAMS, CONTEXT)
    write_other_runs(folders[0])
    others = Context(Changes("9876543210", old={"test.mask.iou": 0.1}), {}, CONTEXT.hashes, CONTEXT.defaults)
    for context in (CONTEXT, others, Context(Changes(reason="none"), {}, CONTEXT.hashes, CONTEXT.defaults)):
        after = build_page(read_inputs(*folders), folders[0], PARAMS, context)
        assert after.html == before.html
        assert after.runs != before.runs
    write_csv(
        folders[0] / "finetune" / "history.csv",
        ["phase", "step", "learning_rate", "train_loss", "validation_loss"],
        [{"phase": 1, "step": 1, "learning_rate": 0.1, "train_loss": 1, "validation_loss": 1}],
    )
    assert build_page(read_inputs(*folders), folders[0], PARAMS, CONTEXT).html != before.html  # results do


@pytest.mark.parametrize("field", ["commit", "stage", "hardware"])
def test_hostile_records_stay_text_in_a_file_of_plain_ascii(folders, field):
    hostile = "</script><script>alert(1)</script>\u2028\u202e\x1b[31m';\n//"
    changes = {"commit": {"commit": hostile}, "stage": {"stage": hostile}, "hardware": {"hardware": {hostile: hostile}}}[field]
    write_run(folders[0], "evaluate", 3, **changes)
    page = build_page(read_inputs(*folders), folders[0], PARAMS)
    shown = json.dumps(read_runs(page.runs), ensure_ascii=False)
    assert json.dumps(hostile[:10] if field == "commit" else hostile, ensure_ascii=False).strip('"') in shown
    assert "<script>alert" not in page.html
    assert "alert" not in page.html or field == "stage"  # a stage's name is no fact of the run


@pytest.mark.parametrize(
    "changes",
    [
        {"params": []},
        {"params": {"evaluate": 3, "seed": []}},
        {"versions": "x"},
        {"hardware": [1]},
        {"extra": []},
        {"extra": {"source": [], "model": 3}},
        {"extra": {"source": {"skipped": 3}}},
        {"stage": 3},
        {"seconds": "nan"},
        {"seconds": [1]},
        {"seconds": 1e400},
        {"started": "0001-01-01T00:00:00+23:00"},
    ],
)
def test_a_record_of_another_form_is_one_line_or_shown(folders, capfd, changes):
    write_run(folders[0], "evaluate", 3, **changes)
    out = folders[0].parent / "index.html"
    code = report.main(make_argv(folders, out))
    errors = capfd.readouterr().err.splitlines()
    if code:
        assert code == 1 and errors[-1].startswith("error: ") and "evaluate/run.json" in errors[-1] and not out.exists()
    else:
        assert out.is_file() and choose_runs_path(out).is_file()
