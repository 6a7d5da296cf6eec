"""Small pipelines in folders with this project's Snakefile and library."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# `first` keeps three characters of its source: an edit behind them gives the same bytes again
DVC_YAML = """
stages:
  guard:
    cmd: echo passed > guard.part && mv guard.part guard.txt
    params: [{params.yaml: }]
    outs: [guard.txt: {cache: false, persist: true}]
    meta: {guard: true}
  first:
    cmd: cut -c1-3 source/text.txt > first.txt
    deps: [guard.txt, source]
    outs: [first.txt]
    meta: {threads: 2, resources: {mem_mb: 100, gpu: 0}}
  second:
    foreach: [a, b]
    do:
      cmd: mkdir second_${item} && cp first.txt second_${item}/copy.txt && cp first.txt second_${item}.csv
      deps: [first.txt]
      outs: ["second_${item}", "second_${item}.csv": {cache: false}]
      meta: {resources: {gpu: 1}}
  last:
    desc: Join them {with braces}.
    cmd: cat second_a/copy.txt second_b/copy.txt > last.txt && grep title params.yaml >> last.txt
    deps: [second_a/copy.txt, second_b]
    params: [report.title]
    outs: [last.txt]
"""


def make_project(root: Path, dvc_yaml: str) -> Path:
    """A folder with this project's Snakefile and library, and another graph."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / "dvc.yaml").write_text(dvc_yaml)
    for name in ("Snakefile", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    for name in ("profiles", "workflow"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("source", "data/demo", "data/photos", "data/ensemble"):  # all but the first as params.yaml has them
        (root / name).mkdir(parents=True)
    (root / "source/text.txt").write_text("abcdef")
    return root
