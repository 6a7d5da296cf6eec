"""Two other data sets through the real graph: the same bytes under both tools, and a new set scores only itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making_mixtures import write_sources
from running_tools import TOOLS, find_different, require_nothing_to_do, run, run_dvc, run_snakemake
from tiny_project import TINY, change_params, commit, copy_clone, make_clone

pytestmark = pytest.mark.slow

OF_ROOMS, OF_COMPOSITES = (
    {f"{stage}_other@{name}" for stage in ("download", "pack", "evaluate")} for name in ("rooms", "composites")
)
FILES = ("metrics.json", "baselines.json", "intervals.json", "per_image.csv", "samples/index.json", "fixed_samples.png")
SAME = ["reports/index.html", *(f"reports/other/{name}/{file}" for name in ("rooms", "composites") for file in FILES)]


def name_sets(root: Path, *names: str) -> None:
    change_params(root, {"evaluate": TINY["evaluate"] | {"more": {name: SETS[name] for name in names}}})


SETS: dict[str, dict] = {}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    untouched = make_clone(tmp_path_factory.mktemp("others") / "clone")
    SETS.update(
        {name: {key: value for key, value in one.items() if key != "weight"} for name, one in write_sources(untouched).items()}
    )
    name_sets(untouched, "rooms")
    commit(untouched, "another data set")
    roots = {tool: copy_clone(untouched, tmp_path_factory.mktemp(tool) / "clone") for tool in TOOLS}
    for workers, (tool, root) in enumerate(roots.items()):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("DEPTHMASK_WORKERS", str(2 * workers))
            assert TOOLS[tool](root) >= OF_ROOMS | {"finetune", "evaluate", "report"}
    return roots


def test_a_new_set_scores_only_itself_and_both_tools_make_the_same(made):
    for tool, root in made.items():
        name_sets(root, "rooms", "composites")
        assert TOOLS[tool](root) - {"check"} == OF_COMPOSITES | {"report"}, tool
    dvc, snakemake = (made[tool] for tool in ("dvc", "snakemake"))
    assert find_different(dvc, snakemake, SAME) == []
    for root in (dvc, snakemake):
        require_nothing_to_do(root)


def test_dvc_page_and_card_show_the_scores_of_each_set(made):
    root = made["dvc"]
    metrics = json.loads((root / "reports/other/rooms/metrics.json").read_text())["test"]
    shown = json.loads(run(root, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert shown["reports/other/rooms/metrics.json"]["data"]["test"]["mask"]["iou"] == metrics["mask"]["iou"]
    page = (root / "reports/index.html").read_text()
    section = page[page.index('<section id="other"') :]
    assert f"{metrics['depth']['delta1']:.3f}" in section and "<h3>composites</h3>" in section
    assert "depth δ &lt; 1.25, aligned" in section and "the model&#39;s in metres" in section
    run(root, "env", "PYTHONPATH=workflow", "python", "-m", "depthmask", "export", "--out", "model.safetensors")
    card = (root / "model.md").read_text()
    assert "On other data, rooms: 12 images; baselines fitted to the training data." in card
    own = json.loads((root / "reports/metrics.json").read_text())["test"]
    scores = card.split("On other data")[0]
    assert f"{own['mask']['iou']:.3f}" in scores, "the model's own scores are not those of another set"


@pytest.mark.parametrize("tool", ["dvc", "snakemake"])
def test_a_removed_set_is_forgotten(made, tool):
    root = made[tool]
    name_sets(root, "composites")
    ran = TOOLS[tool](root)
    assert ran == {"check", "report"}, ran
    assert [path.name for path in (root / "data/other").iterdir() if path.is_dir()] == ["composites"]
    assert [path.name for path in (root / "reports/other").iterdir() if path.is_dir()] == ["composites"]
    assert "<h3>rooms</h3>" not in (root / "reports/index.html").read_text()
    assert (run_snakemake if tool == "snakemake" else run_dvc)(root) == set()
