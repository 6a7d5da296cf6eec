"""What differs from run to run, beside the page in headless Chromium: shown, missing, damaged, of another page, hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making_reports import CONTEXT, PARAMS, make_reports, write_run

from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page, write_page
from depthmask.reporting.runs_file import VARIABLE, choose_runs_path

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></script><b id=made>\u202e\x07'\""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    reports, split = make_reports(tmp_path_factory.mktemp("reports"))
    write_run(reports, "pretrain", 1, extra={"model": {"name": "compact", "background_input": False}})
    return reports, split


@pytest.fixture
def page(folders, tmp_path) -> Path:
    path = tmp_path / "a page.html"
    write_page(build_page(read_inputs(*folders), folders[0], PARAMS, CONTEXT, path), path)
    return path


def read_text(chrome, path: Path) -> str:
    chrome.get_log("browser")  # of what was open before
    chrome.get(path.as_uri())
    return " ".join(chrome.find_element("tag name", "body").text.split())


def list_complaints(chrome) -> list[str]:
    return [entry["message"] for entry in chrome.get_log("browser")]


def test_times_machine_commit_and_comparison_are_shown(chromium, page):
    text = read_text(chromium, page)
    for printed in (
        "in 5 min 00 s",
        "pretrain 2025-01-01 10:00 UTC 1 min 40 s – not measured – not measured c0ffee0000",
        "together 10 min 00 s",
        "git checkout c0ffee",
        "▲ +0.012, better than the commit 0123456789 (0.800)",
        "▼ −0.088, worse than the leaderboard’s best, other_recipe (0.900)",
        "Changes are from dvc metrics diff 0123456789",
        "Differences from commit 0123456789 key now then seed 7 6",
        "cores 2",
    ):
        assert printed in text, printed
    assert "missing" not in text and "Not shown" not in text
    order = [item.text[:1] for item in chromium.find_elements("css selector", "[data-card='mask.iou'] li")]
    assert order == ["▲", "▼", "B"]  # the commit, the leaderboard, the baseline
    assert list_complaints(chromium) == []


def test_a_page_that_is_sent_alone_has_all_but_that_and_says_so(chromium, page):
    with_file = read_text(chromium, page)
    choose_runs_path(page).unlink()
    alone = read_text(chromium, page)
    printed = "in a page.runs.js, a small file beside this page. It is not shown: the file is missing, or scripts are disabled."
    assert alone.count(printed) == 4
    assert "c0ffee" not in alone and "10 min 00 s" not in alone
    kept = ("0.812", "Best baseline: 0.234", "3.11.0", "Hashes of data", "mask IoU: 0.432", "make repro")
    assert all(text in alone and text in with_file for text in kept)
    complaints = list_complaints(chromium)
    assert len(complaints) == 1 and "ERR_FILE_NOT_FOUND" in complaints[0]  # Chromium's own
    assert chromium.find_element("css selector", ".viewer input").get_attribute("aria-valuetext") == "prediction"


BROKEN = {
    "another page's": ("belongs to another page", lambda value: value | {"page": "0" * 64}),
    "no page's": ("belongs to another page", lambda value: []),
    "null": ("is damaged", lambda value: None),
    "without blocks": ("is damaged", lambda value: value | {"blocks": {}}),
    "a block that is none": ("is damaged", lambda value: value | {"blocks": value["blocks"] | {"cost": [3, None]}}),
    "a text that is none": ("is damaged", lambda value: value | {"words": {"training": 7}}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_damaged_or_of_another_page_changes_nothing_but_says_so(chromium, page, name):
    why, change = BROKEN[name]
    beside = choose_runs_path(page)
    value = json.loads(beside.read_text().removeprefix(f"window.{VARIABLE} = ").removesuffix(";\n"))
    beside.write_text(f"window.{VARIABLE} = {json.dumps(change(value))};\n")
    text = read_text(chromium, page)
    assert text.count(f"Not shown: a page.runs.js beside this page {why}.") == 4
    assert "c0ffee" not in text and "0123456789" not in text
    assert chromium.find_element("css selector", ".viewer input").get_attribute("aria-valuetext") == "prediction"
    assert list_complaints(chromium) == []


def test_what_is_in_the_file_is_text_and_never_markup(chromium, folders, tmp_path):
    write_run(folders[0], "evaluate", 3, commit=HOSTILE, hardware={HOSTILE: HOSTILE, "cores": 2})
    path = tmp_path / "index.html"
    try:
        write_page(build_page(read_inputs(*folders), folders[0], PARAMS, CONTEXT, path), path)
    finally:
        write_run(folders[0], "evaluate", 3)
    text = read_text(chromium, path)
    assert "<img src=x onerror=alert(1)><script>alert(2)</script></script><b id=made>" in text
    assert chromium.find_elements("css selector", "#made, img[src='x']") == []
    assert len(chromium.find_elements("css selector", "script")) == 2
    assert list_complaints(chromium) == []  # neither an error nor a load that the policy refused, nor an alert


def test_the_policy_lets_nothing_else_run_or_load(chromium, page):
    html = page.read_text(encoding="utf-8")
    (page.parent / "other.js").write_text("window.ran = 1;")
    extra = '<script>window.ran = 2;</script><script src="other.js"></script><img src="other.png"></main>'
    page.write_text(html.replace("</main>", extra), encoding="utf-8")
    chromium.get(page.as_uri())
    assert chromium.execute_script("return window.ran") is None
    assert len([line for line in list_complaints(chromium) if "Content Security Policy" in line]) == 3
