"""The page, from reports small enough to write here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from making_reports import METRICS, PARAMS, PER_IMAGE, Page, build, make_argv, make_reports, write_picture, write_run
from PIL import Image

from depthmask.base.durations import format_seconds
from depthmask.base.errors import UserError
from depthmask.base.files import write_csv, write_json
from depthmask.commands.scores import main as show_scores
from depthmask.pictures.colours import CAPTIONS
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import PAGE_BYTES_MAX, build_page
from depthmask.scores.labels import format_moment
from stages import report


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return make_reports(tmp_path)


def test_page_is_whole_html_with_headings_alt_texts_and_scopes(folders):
    page = Page(build(*folders))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    images = page.find("img")
    assert len(images) == 2 * len(CAPTIONS) + 4  # of two draws, photo and mask
    assert all(image["alt"].strip() and image["width"] and image["height"] for image in images)
    assert all("scope" in cell for cell in page.find("th"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.find("svg"))
    assert page.find("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.find("meta"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    targets = [link["href"][1:] for link in page.find("a")]
    assert set(targets) <= set(ids)


def test_ids_are_unique(folders):
    ids = [attributes["id"] for _, attributes in Page(build(*folders)).elements if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))


def test_nothing_is_loaded_but_the_file_beside_the_page(folders):
    html = build(*folders)
    page = Page(html)
    beside, own = page.find("script")
    assert not page.find("link") and not page.find("iframe")
    assert set(beside) == {"src", "nonce"} and beside["src"] == "./index.runs.js"
    begin = html.index(">", html.index("<script data-page")) + 1
    script = html[begin : html.index("</script>", begin)]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}' 'nonce-{beside['nonce']}'\"" in html
    assert own["data-page"] == beside["nonce"] and re.fullmatch(r"[0-9a-f]{64}", beside["nonce"])
    assert "fetch(" not in script and "import" not in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script)  # no markup from data
    loads = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href", "xlink:href")
    ]
    loads.remove(beside["src"])
    assert loads and all(value.startswith(("data:image/", "#")) for value in loads)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html and "http://" not in html and "https://" not in html
    assert "default-src 'none'" in html


def test_scores_are_those_of_metrics_json(folders):
    text = Page(build(*folders)).text
    for value in ("0.812", "0.880", "0.830", "0.765", "0.876", "0.111", "1.234", "0.234", "0.778"):
        assert value in text, value
    assert '<data value="0.812345">0.812</data>' in build(*folders)
    assert "Not better than 0.778 (mean depth of each row)" in text  # depth delta1
    assert "Best baseline: 0.234 (all foreground)" in text
    assert "depth is known in 1 of them" in text


def test_gallery_knows_kinds_groups_and_scores(folders):
    page = Page(build(*folders))
    samples = [attributes for attributes in page.find("figure") if "data-scores" in attributes]
    assert [sample["data-groups"] for sample in samples] == ["shown", "worst_mask"]  # report.num_worst is 1
    scores = [json.loads(sample["data-scores"]) for sample in samples]
    assert scores[1] == {"mask_iou": 0.5321, "mask_dice": 0.5, "depth_fg_rmse_aligned": 1.5}
    options = {option.get("value") for option in page.find("option")}
    assert {"mask_iou", "depth_fg_rmse_aligned", "best_depth"} <= options
    assert "mask_fraction" not in options and "scene_far" not in options
    sliders = [attributes for attributes in page.find("input") if attributes["type"] == "range"]
    assert len(sliders) == 4
    assert "depth RMSE, in the foreground, aligned" in page.text


def test_scores_of_another_set_are_rejected(folders):
    reports, split = folders
    rows = [row | {"key": "other"} for row in PER_IMAGE]
    write_csv(reports / "per_image.csv", list(rows[0]), rows)
    with pytest.raises(UserError, match=r"do not fit together \(line 2 of per_image.csv is other, not 000000\)"):
        build(reports, split)


def test_facts_are_on_the_page(folders):
    text = Page(build(*folders)).text
    for fact in ("3.11.0", "nested.on", "animal rex in room000001"):
        assert fact in text, fact
    assert "mask IoU: 0.432" in text and "depth δ < 1.25: unknown" in text
    assert "None. Put photos into" in text


def test_what_is_unknown_or_skipped_is_reported(folders):
    reports, split = folders
    write_json(reports / "photos" / "index.json", {"captions": {}, "photos": [], "skipped": "because of this"})
    text = Page(build(reports, split)).text
    assert "Not predicted: because of this." in text


def test_cutouts_that_may_leak_are_reported(folders):
    reports, split = folders
    assert "share no background and no cut-out" in Page(build(reports, split)).text
    row = {"role": "composite", "key": "1", "group": "a", "background": "a", "cutout": ""}
    write_csv(split / "train.csv", list(row), [row])
    text = Page(build(reports, split)).text
    assert "does not identify its cut-outs" in text and "no cut-out" not in text
    assert "whose backgrounds it has never seen" in text


def test_samples_that_were_skipped_are_listed_with_the_reason(folders):
    reports, split = folders
    skipped = [{"key": f"{number:06d}", "reason": f"masks/mask{number:06d}.jpg: damaged & <cut>"} for number in range(12)]
    source = {"name": "flat_numbered", "skipped": skipped, "warnings": ["folders look swapped"]}
    write_run(reports, "evaluate", 3, extra={"source": source})
    html = build(reports, split)
    text = Page(html).text
    assert "12 samples were bad and skipped" in text and "Warning of the download: folders look swapped" in text
    assert "masks/mask000009.jpg: damaged &amp; &lt;cut&gt;" in html and "000010" not in text and "2 more, all in" in text
    write_run(reports, "evaluate", 3)
    assert "left out" not in Page(build(reports, split)).text


def test_texts_are_escaped(folders):
    html = build(*folders)
    assert "A &lt;title&gt; &amp; more" in html and "A <title>" not in html


def test_photos_are_shown(folders):
    reports, split = folders
    files = {
        name: write_picture(reports / "photos" / f"p.{name}.png", 30) for name in ("image", "mask", "cutout", "depth_colours")
    }
    entry = {"name": "holiday.jpg", "photo_size_px": [3000, 2000], "size_px": [30, 20], "files": files}
    write_json(reports / "photos" / "index.json", {"captions": {}, "photos": [entry], "skipped": None})
    page = Page(build(reports, split))
    assert "holiday.jpg" in page.text and "3000 × 2000 px" in page.text
    assert "mask: holiday.jpg" in [image["alt"] for image in page.find("img")]


def test_same_reports_give_the_same_bytes(folders):
    assert build_page(read_inputs(*folders), folders[0], PARAMS) == build_page(read_inputs(*folders), folders[0], PARAMS)


def test_page_stays_small_with_large_pictures(folders):
    reports, split = folders
    for path in (reports / "samples").glob("*.png"):
        write_picture(path, 640)
    Image.new("I;16", (640, 640), 20_000).save(reports / "samples/scene.png")
    html = build(reports, split)
    assert 'id="scene"' in html
    assert len(html.encode()) <= PAGE_BYTES_MAX
    assert max(int(image["width"]) for image in Page(html).find("img")) <= 256


INPUTS = [
    "reports/per_image.csv",
    "reports/samples/augmented.json",
    "reports/metrics.json",
    "reports/baselines.json",
    "reports/pretrain/history.csv",
    "reports/finetune/run.json",
    "reports/evaluate/run.json",
    "reports/samples/index.json",
    "reports/samples/000000_mask.png",
    "reports/photos/index.json",
    "split/train.csv",
    "split/statistics.json",
]


@pytest.mark.parametrize("damage", ["missing", "empty", "broken"])
@pytest.mark.parametrize("name", INPUTS)
def test_missing_or_broken_file_is_one_line_that_names_it(folders, capfd, name, damage):
    root = folders[0].parent
    path, out = root / name, root / "index.html"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else b'{"other": 1}\n"\xff')
    assert report.main(make_argv(folders, out)) == 1
    begun, error = capfd.readouterr().err.splitlines()
    assert begun.startswith("report  from ") and error.startswith("error: ")
    assert str(path) in error
    assert not out.exists()


def test_stage_writes_the_page_and_says_where(folders, capfd):
    root = folders[0].parent
    out = root / "index.html"
    assert report.main(make_argv(folders, out)) == 0
    assert str(out) in capfd.readouterr().err
    assert "0.812" in out.read_text(encoding="utf-8")
    assert "10 min 00 s" in (root / "index.runs.js").read_text(encoding="utf-8")


def test_history_that_is_none_is_one_line(folders):
    reports, split = folders
    path = reports / "finetune" / "history.csv"
    path.write_text(path.read_text().replace("0.01", "fast"))
    with pytest.raises(Exception, match=r"finetune/history\.csv: not a valid history"):
        build(reports, split)


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.2 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3725, "1 h 02 min")])
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_format_moment():
    assert format_moment("2025-03-01T00:30:00+02:00") == "2025-02-28 22:30 UTC"


def test_metrics_of_the_test_are_json():
    json.dumps(METRICS, allow_nan=False)


def test_the_scores_command_prints_metrics_json(folders, capsys):
    reports, _ = folders
    assert show_scores(["--reports", str(reports)]) == 0
    printed = capsys.readouterr().out
    assert "mask IoU" in printed and f"{METRICS['test']['mask']['iou']:.3f}" in printed
    (reports / "evaluate" / "run.json").write_text("{")
    assert show_scores(["--reports", str(reports)]) == 1
    assert "run.json: is not JSON" in capsys.readouterr().err
    (reports / "baselines.json").unlink()
    assert show_scores(["--reports", str(reports)]) == 1
    assert "baselines.json: no such file" in capsys.readouterr().err
