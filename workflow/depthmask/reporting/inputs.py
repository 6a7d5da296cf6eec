"""Reads and checks the files that the page is made from; a missing or broken one is one line that names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from depthmask.base.errors import UserError
from depthmask.base.files import iterate_csv, read_stage_json
from depthmask.scores import AVERAGED, NUM_MODELS, NUM_VIEWS

TRAINING_STAGES = ("pretrain", "finetune")
STAGES = ("download", "pack", "split", "weights", *TRAINING_STAGES, "evaluate", "photos")  # in the order of the page
PARTS = ("train", "validation", "test")
HISTORY_COLUMNS = ("phase", "step", "learning_rate", "train_loss", "validation_loss")
METRICS = "metrics.json"
OTHER = "other"  # the folder that has one for each other data set
IDENTITY_COLUMNS = ("key", "kind", "mask_fraction", "foreground_depth", "scene_far", "foreground_x", "foreground_y")


class _Excerpt(BaseModel):
    """Part of a record: the keys read here; any others are allowed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _check_moment(text: str) -> str:
    datetime.fromisoformat(text).astimezone(UTC)
    return text


Moment = Annotated[str, AfterValidator(_check_moment)]
Amount = Annotated[float, Field(ge=0, le=1e12)]


class _Skipped(_Excerpt):
    key: str
    reason: str


class _Source(_Excerpt):
    name: str | None = None
    depth_unit: str = ""
    depth_max: Amount | None = None
    skipped: list[_Skipped] = []
    warnings: list[str] = []


class _Model(_Excerpt):
    name: str | None = None
    num_parameters: int | None = None


class _Extra(_Excerpt):
    images_per_second: Amount | None = None
    peak_memory_mib: Amount | None = None
    source: _Source = _Source()
    model: _Model = _Model()


class _RunParams(_Excerpt):
    seed: int = 0


class _Run(_Excerpt):
    """What the page reads from a run.json."""

    stage: str
    started: Moment
    seconds: Amount
    params: _RunParams
    versions: dict[str, Any] | None
    hardware: dict[str, Any] | None
    commit: str | None
    commit_unknown: str = ""
    dirty: bool | None
    extra: _Extra = _Extra()


@dataclass(frozen=True)
class OtherResults:
    """The results of the model on another data set. metrics, samples: as in `Inputs`; run: of the evaluation."""

    metrics: dict[str, Any]
    run: dict[str, Any]
    samples: dict[str, Any]

    @property
    def depth_unit(self) -> str:
        """metre or relative: the unit of its scores."""
        return self.run.get("extra", {}).get("source", {}).get("depth_unit", "")


@dataclass(frozen=True)
class Inputs:
    """Everything the page is made from.

    intervals: the content of intervals.json. runs: in graph order. histories: by stage. samples, photos: index files.
    statistics: of the split. counts: items by part and role. cutouts_known: whether the parts are known to share no cut-out;
    some pre-composited sources do not identify theirs.
    others: the results on other data sets, by name.
    """

    metrics: dict[str, Any]
    intervals: dict[str, Any]
    runs: list[dict[str, Any]]
    histories: dict[str, list[dict[str, str]]]
    samples: dict[str, Any]
    photos: dict[str, Any]
    statistics: dict[str, Any]
    counts: dict[str, dict[str, int]]
    cutouts_known: bool
    per_image: list[dict[str, str]]
    augmented: list[dict[str, Any]]
    others: dict[str, OtherResults] = field(default_factory=dict)

    @property
    def depth_unit(self) -> str:
        """metre or relative, as recorded by the evaluation; empty if there is none."""
        units = [run.get("extra", {}).get("source", {}).get("depth_unit") for run in self.runs]
        return next((unit for unit in units if unit), "")


def read_inputs(reports: Path, split: Path) -> Inputs:
    """Read everything that the stages left in the two folders.

    Raises:
        UserError: a file is missing, unreadable or incomplete.
    """
    parts = {part: _count_roles(split / f"{part}.csv") for part in PARTS}
    metrics = read_scores(reports)
    run_files = {reports / stage / "run.json" for stage in (*TRAINING_STAGES, "evaluate")} | set(reports.glob("*/run.json"))
    statistics = _load_json(split / "statistics.json", ("channels",))
    further = (reports / "download_more" / name / "run.json" for name in statistics.get("sources") or {})
    run_files |= {path for path in further if path.is_file()}  # not of sources that were removed
    run_files |= set((reports / OTHER).glob("*/run.json")) | set((reports / OTHER).glob("*/*/run.json"))
    runs = sorted((_load_run(path) for path in sorted(run_files)), key=_rank_run)
    return Inputs(
        metrics=metrics,
        intervals=_load_json(reports / "intervals.json", ("confidence", "test")),
        runs=runs,
        histories={stage: _load_csv(reports / stage / "history.csv", HISTORY_COLUMNS) for stage in TRAINING_STAGES},
        samples=_load_json(reports / "samples" / "index.json", ("captions", "legend", "groups", "samples")),
        photos=_load_json(reports / "photos" / "index.json", ("captions", "photos", "skipped")),
        statistics=statistics,
        counts={part: dict(roles) for part, (roles, _) in parts.items()},
        per_image=_load_csv(reports / "per_image.csv", IDENTITY_COLUMNS),
        augmented=_load_json(reports / "samples" / "augmented.json", ("composites",))["composites"],
        cutouts_known=all(are_known for _, are_known in parts.values()),
        others={name: _read_other(reports / OTHER / name) for name in list_other_sets(reports)},
    )


def list_other_sets(reports: Path) -> list[str]:
    """The names of the other data sets that there are scores of."""
    return sorted(path.parent.name for path in (reports / OTHER).glob(f"*/{METRICS}"))


def read_other_scores(reports: Path, name: str) -> tuple[dict[str, Any], str]:
    """The scores on another data set and the unit of their depth; raises UserError as `read_inputs` does."""
    found = _read_other(reports / OTHER / name)
    return found.metrics, found.depth_unit


def _read_other(folder: Path) -> OtherResults:
    samples = _load_json(folder / "samples" / "index.json", ("captions", "groups", "samples"))
    return OtherResults(read_scores(folder), _load_run(folder / "run.json"), samples)


def read_scores(reports: Path) -> dict[str, Any]:
    """metrics.json with the baselines of baselines.json under `test.baselines`; raises UserError as `read_inputs` does."""
    metrics = _load_json(reports / METRICS, ("test",))
    _require(reports / METRICS, metrics["test"], ("mask", "depth", "num_images", "num_images_with_depth"))
    if AVERAGED in metrics:
        _require(reports / METRICS, metrics[AVERAGED], ("mask", "depth", NUM_MODELS, NUM_VIEWS))
    metrics["test"]["baselines"] = _load_json(reports / "baselines.json", ("test",))["test"]
    return metrics


def read_depth_unit(reports: Path) -> str:
    """metre or relative, as recorded by the evaluation; empty without a record. Raises UserError as above."""
    path = reports / "evaluate" / "run.json"
    return _load_run(path).get("extra", {}).get("source", {}).get("depth_unit", "") if path.is_file() else ""


def _rank_run(run: dict[str, Any]) -> tuple[int, str]:
    """Sort key by stage order: tools and runs may start stages in different orders."""
    stage = str(run["stage"])
    kind = stage.partition(" ")[0]  # `download NAME` is of a further source
    return (STAGES.index(kind) if kind in STAGES else len(STAGES), stage)


def _load_run(path: Path) -> dict[str, Any]:
    run = _load_json(path, ("stage",))
    try:
        _Run.model_validate(run)
    except (ValidationError, OverflowError) as error:
        wrong = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("started",), "msg": str(error)}
        where = ".".join(map(str, wrong["loc"]))
        raise UserError(f"{path}: {where}: {wrong['msg']}; run the stage that makes it again") from error
    return run


def _load_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        value = read_stage_json(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; remove it and run the stage that makes it again") from error
    _require(path, value, keys)
    return value


def _load_csv(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return list(_iterate_csv(path, columns))


def _iterate_csv(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    num_rows = 0
    if not path.exists():
        raise UserError(f"{path}: no such file; run the stage that makes it")
    if not path.is_file():  # opening a pipe would block
        raise UserError(f"{path}: is not a regular file; remove it and run the stage that makes it again")
    for row in iterate_csv(path):
        if not num_rows:
            _require(path, row, columns)
        num_rows += 1
        yield row
    if not num_rows:
        raise UserError(f"{path}: has no rows; run the stage that makes it again")


def _count_roles(path: Path) -> tuple[Counter[str], bool]:
    """Rows of a part's list by role, and whether every composite's cut-out is known; lists may be long, so row by row."""
    roles: Counter[str] = Counter()
    are_known = True
    for row in _iterate_csv(path, ("role", "key")):
        roles[row["role"]] += 1
        are_known = are_known and (row["role"] != "composite" or bool(row.get("cutout")))
    return roles, are_known


def _require(path: Path, value: Any, keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; run the stage that makes it again")
