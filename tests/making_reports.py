"""Reports small enough to write by hand, for the page's tests."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from depthmask.base.files import write_csv, write_json
from depthmask.evaluation.score import separate_baselines
from depthmask.params import ReportParams
from depthmask.pictures.colours import CAPTIONS, LEGEND
from depthmask.reporting.context import Changes, Context, Hashed
from depthmask.reporting.inputs import read_inputs
from depthmask.reporting.page import build_page

PROJECT = Path(__file__).parents[1]
PARAMS = ReportParams(title="A <title> & more", num_worst=1)
VOID = {"meta", "img", "br", "link", "input", "hr", "path", "use"}
METRICS = {
    "test": {
        "mask": {"iou": 0.812345, "dice": 0.88, "precision": 0.9, "recall": 0.85, "mae": 0.0123, "iou_pooled": 0.83},
        "depth": {"rmse": 1.2345, "abs_rel": 0.1111, "delta1": 0.7654, "delta1_aligned": 0.8765, "fg_delta1": None},
        "num_images": 2,
        "num_images_with_depth": 1,
        "baselines": {
            "mask_all_foreground": {"iou": 0.2345, "dice": 0.3},
            "mask_empty": {"iou": 0.0, "dice": 0.0},
            "depth_row_mean": {"rmse": 2.5, "abs_rel": 0.4, "delta1": 0.7777},
        },
    }
}

INTERVALS = {
    "confidence": 0.95,
    "num_draws": 2000,
    "test": {
        "num_clusters": {"background": 2, "cutout": 2},
        "mask": {"iou": [0.71, 0.91], "dice": None},
        "depth": {"delta1": [0.7, 0.83]},
        "baselines": {"mask_all_foreground": {"iou": [0.2, 0.27]}, "depth_row_mean": {"delta1": [0.75, 0.8]}},
    },
}


PER_IMAGE = [
    {
        "key": f"{number:06d}",
        "kind": kind,
        "mask_fraction": 0.1 * (number + 1),
        "foreground_depth": depth,
        "scene_far": 9,
        "foreground_x": 0.5,
        "foreground_y": 0.9,
        "mask_iou": 0.4321 + 0.1 * number,
        "mask_dice": 0.5,
        "depth_delta1": delta1,
        "depth_abs_rel": "",
        "depth_fg_rmse_aligned": 1.5,
    }
    for number, (kind, depth, delta1) in enumerate([("animal", 2.5, 0.7), ("person", "", "")])
]
CONTEXT = Context(
    changes=Changes("0123456789", old={"test.mask.iou": 0.8, "test.depth.delta1": 0.9}, params=(("seed", 6, 7),)),
    leaderboard={"mask_iou": ("other_recipe", 0.9)},
    hashes=(Hashed("data/raw", "abc.dir", 5_600_000, 386),),
    defaults={"pretrain": {"image_size_px": 80, "more_phases": [], "nested": {"on": True, "off": None}}},
)


def write_draws(reports: Path, number: int) -> list[dict]:
    names = ("image", "mask")
    return [{name: write_picture(reports / "samples" / f"a_{draw}_{name}.png", 24) for name in names} for draw in range(number)]


def write_picture(path: Path, side_px: int) -> str:
    noise = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path.name


def write_run(folder: Path, stage: str, day: int, /, **changes) -> None:
    run = {
        "stage": stage,
        "started": f"2025-01-0{day}T10:00:00+00:00",
        "seconds": 100.0 * day,
        "params": {"seed": 7, stage: {"image_size_px": 64, "more_phases": [], "nested": {"on": True, "off": None}}},
        "versions": {"python": "3.11.0", "torch": "2.0"},
        "hardware": {"cores": 2},
        "commit": "c0ffee" + "0" * 34,
        "dirty": False,
        "extra": {},
    }
    write_json(folder / stage / "run.json", run | changes)


def write_history(folder: Path, stage: str) -> None:
    columns = [
        "phase",
        "epoch",
        "step",
        "learning_rate",
        "train_loss",
        "train_mask_bce",
        "validation_loss",
        "validation_mask_iou",
    ]
    rows = [[1, epoch, 10 * epoch, 0.01, 1 / epoch, 0.5 / epoch, 1.1 / epoch, 0.1 * epoch] for epoch in (1, 2, 3)]
    write_csv(folder / stage / "history.csv", columns, [dict(zip(columns, row, strict=True)) for row in rows])


def make_reports(root: Path) -> tuple[Path, Path]:
    """The folders of reports and of the split."""
    reports, split = root / "reports", root / "split"
    for folder in ("samples", "photos"):
        (reports / folder).mkdir(parents=True)
    own, beside = separate_baselines(METRICS)
    write_json(reports / "metrics.json", own)
    write_json(reports / "baselines.json", beside)
    write_json(reports / "intervals.json", INTERVALS)
    for day, stage in enumerate(("pretrain", "finetune", "evaluate"), start=1):
        write_run(reports, stage, day)
    for stage in ("pretrain", "finetune"):
        write_history(reports, stage)
    samples = {}
    for name in ("000000", "000001"):
        files = {key: write_picture(reports / "samples" / f"{name}_{key}.png", 24) for key in CAPTIONS}
        scores = {"mask": {"iou": 0.4321, "mae": 0.1}, "depth": {"delta1": None}}
        samples[name] = {
            "key": name,
            "background": f"room{name}",
            "cutout": "rex",
            "kind": "animal",
            "scores": scores,
            "files": files,
        }
    groups = {"shown": ["000000"], "worst_mask": ["000001", "000000"], "worst_depth": []}
    depth = np.tile(np.linspace(10_000, 30_000, 24).astype(np.uint16)[:, None], (1, 24))
    Image.fromarray(depth).save(reports / "samples" / "scene.png")
    scene = {"sample": "000000", "depth": "scene.png", "raw_max": 65535}
    index = {"captions": CAPTIONS, "legend": LEGEND, "groups": groups, "grids": {}, "samples": samples, "scene": scene}
    write_json(reports / "samples" / "index.json", index)
    write_json(reports / "photos" / "index.json", {"captions": {}, "photos": [], "skipped": None})
    write_json(reports / "samples" / "augmented.json", {"composites": [{"key": "0000_000000", "draws": write_draws(reports, 2)}]})
    write_csv(reports / "per_image.csv", list(PER_IMAGE[0]), PER_IMAGE)
    for part in ("train", "validation", "test"):
        row = {"role": "background", "key": "a", "group": "a"}
        write_csv(split / f"{part}.csv", list(row), [row] * 3)
    channels = {"image": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_maps": 3}}
    write_json(
        split / "statistics.json", {"counts": {}, "channels": channels | {"depth": {"mean": None, "std": None, "num_maps": 3}}}
    )
    return reports, split


def build(reports: Path, split: Path, context: Context | None = None) -> str:
    """The page's HTML."""
    return build_page(read_inputs(reports, split), reports, PARAMS, context).html


def make_argv(folders: tuple[Path, Path], out: Path) -> list[str]:
    """The report stage's arguments, with the project's own params and recipes, and neither dvc.lock nor a leaderboard."""
    given = {
        "params": PROJECT / "params.yaml",
        "reports": folders[0],
        "split": folders[1],
        "recipes": PROJECT / "workflow/recipes",
    }
    given |= {"lock": out.with_name("dvc.lock"), "leaderboard": out.with_name("leaderboard.csv"), "out": out}
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where tags do not close in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def find(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
