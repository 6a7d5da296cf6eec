"""Finds a model file's provenance and scores, as far as dvc.lock vouches for them.

dvc.lock has the hashes of every output and its inputs. So params, data and scores are reported only for exactly the file they
belong to: after a change that was not run, nothing is reported rather than something wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from depthmask import __version__
from depthmask.base.errors import UserError
from depthmask.base.files import read_json
from depthmask.models.model_card import FITTED_TO, EncoderCard, Evaluation, InitCard, Release, check_json, describe_fault
from depthmask.models.model_file import DepthMaskModel, count_parameters
from depthmask.params.other_sets import EVALUATE_OTHER
from depthmask.point_clouds.camera import find_trained_angle
from depthmask.registry.networks import NETWORKS
from depthmask.reporting.context import is_gone
from depthmask.reporting.rendering import load_template
from depthmask.scores import AVERAGED, BY_SOURCE, NUM_MODELS, Prominence, ScoreSpec, list_scores
from depthmask.scores import labels as words

RECORD_KEYS = ("stage", "started", "seconds", "commit", "dirty", "hardware")
GUARD = "check"  # its params are the whole file, most of which does not affect a model
SCORES, BASELINES = "metrics.json", "baselines.json"
SOURCES_SAID = ("demo", "assets")  # about which the card says more
MARKUP = re.compile(r"[\\`*\[\]|!]")
BACKTICKS = re.compile("`+")


def find_release(model: Path, lock: Path) -> tuple[dict[str, Any], str | None]:
    """What is known about a model file, as plain JSON, and a note on what is unknown and why.

    Keys: depthmask (current version), data ({path: md5} of what its stages read, DVC's hashes), params (by section), runs (one
    record per stage, in graph order), versions (of packages during training), scores and baselines (of the test set, as in
    reports/metrics.json), other_scores (of other data sets, by name); unknown ones are empty. If mirror images were scored also
    flipped_scores. Of several sources also sources: what each is, and its scores.

    Raises:
        UserError: the lock file is unreadable, or not written by DVC.
    """
    try:
        return _find_release(model, lock)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _make_lock_error(lock, error) from error


def read_other_scores(folder: Path) -> dict[str, Any]:
    """The scores that the stage evaluate wrote to a folder, of data that the model was not trained on, and their baselines.

    Raises:
        OSError: metrics.json or baselines.json cannot be read.
        UserError: one of them is not what the stage writes.
    """
    try:
        found = {key: dict(read_json(folder / file)["test"]) for key, file in (("scores", SCORES), ("baselines", BASELINES))}
        for scores in found.values():
            scores.pop(BY_SOURCE, None)
        return Evaluation.model_validate(check_json(found)).model_dump()
    except (KeyError, TypeError, ValueError) as error:
        reason = describe_fault(error) if isinstance(error, ValidationError) else "no test set"
        raise UserError(f"{folder}: {SCORES} and {BASELINES} are not those of the stage evaluate: {reason}") from error


def _find_release(model: Path, lock: Path) -> tuple[dict[str, Any], str | None]:
    release: dict[str, Any] = {"depthmask": __version__, "data": {}, "params": {}, "runs": [], "versions": {}}
    release |= {"scores": {}, "baselines": {}, "other_scores": {}}
    stages = _read_stages(lock)
    if stages is None:
        return release, f"{lock}: no such file, so data, params and scores are unknown"
    md5 = _hash_md5(model)
    maker = next((name for name, stage in stages.items() if md5 in _list_hashes(stage, "outs").values()), None)
    if maker is None:
        return release, f"{lock}: has no record of exactly this {model}, so data, params and scores are unknown"
    for name in _find_ancestry(stages, maker):
        stage = stages[name]
        if name == GUARD:
            continue
        for sections in stage.get("params", {}).values():
            release["params"] |= sections
        empty = {entry["path"] for entry in stage.get("deps", []) if entry.get("size") == 0}  # the folder of further sources
        hashes = {path: md5 for path, md5 in _list_hashes(stage, "deps").items() if path not in empty}
        release["data"] |= {path: value for path, value in hashes.items() if _is_data(path, stages)}
        for record in _read_outputs(lock.parent, stage, "run.json"):
            release["runs"].append({key: record.get(key) for key in RECORD_KEYS})
            release["versions"] = record.get("versions", {})
    scored = {name: stage for name, stage in stages.items() if md5 in _list_hashes(stage, "deps").values()}
    others = {name: scored.pop(name) for name in [*scored] if name.partition("@")[0] == EVALUATE_OTHER}
    for stage in scored.values():
        for key, file in (("scores", SCORES), ("baselines", BASELINES)):
            for found in _read_outputs(lock.parent, stage, file):
                release[key] = found.get("test", {})
                if _get(found, AVERAGED, NUM_MODELS) == 1:  # else it takes further files, whose cards do not have these scores
                    release["flipped_scores"] = found[AVERAGED]
        for record in _read_outputs(lock.parent, stage, "run.json"):
            release |= _describe_sources(record, release["scores"])
    release["other_scores"] = {
        name.partition("@")[2]: found for name, one in others.items() if (found := _read_scores(lock, one))
    }
    for key in release.keys() & {"scores", "baselines", "flipped_scores"}:
        release[key] = {name: value for name, value in release[key].items() if name != BY_SOURCE}
    release["params"] = _nest(release["params"])
    note = None if release["scores"] else f"{lock}: has no evaluation of {model}, so scores are unknown; run evaluate"
    return release, note


def _read_scores(lock: Path, stage: Mapping) -> dict[str, Any]:
    """Scores and baselines of the model on another data set; empty if either file is not as the stage wrote it."""
    files = (("scores", SCORES), ("baselines", BASELINES))
    found = {key: next(iter(_read_outputs(lock.parent, stage, file)), {}).get("test") for key, file in files}
    return found | {"fitted_to": "the training data"} if all(found.values()) else {}


def _describe_sources(evaluation: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """{"sources"}: origin, licence, weight and scores of each of several sources; nothing of a single one."""
    listed = _get(evaluation, "extra", "source", "sources") or {}
    kept = ("source", "weight", "licence", "citation", "sha256")
    sources = {
        name: {key: one.get(key) for key in kept} | {"scores": _get(scores, BY_SOURCE, name) or {}}
        for name, one in listed.items()
    }
    return {"sources": sources} if sources else {}


def _nest(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params nested as in params.yaml; a key that one stage reads by itself is dropped where another reads its whole section."""
    nested = {key: value for key, value in params.items() if "." not in key}
    for key, value in params.items():
        section, *path = key.split(".")
        if not path or section in params:
            continue
        values = nested.setdefault(section, {})
        for name in path[:-1]:
            values = values.setdefault(name, {})
        values[path[-1]] = value
    return nested


def check_release(release: dict[str, Any], lock: Path) -> dict[str, Any]:
    """Validate the release; raises UserError if dvc.lock or the records it refers to are invalid."""
    try:
        Release.model_validate(check_json(release))
    except ValueError as error:
        reason = describe_fault(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{lock}: its records are invalid ({reason}); run dvc repro") from error
    return release


def write_model_card(model: DepthMaskModel, release: Mapping[str, Any], name: str = "MODEL.safetensors") -> str:
    """The model card as Markdown. Texts from the release are untrusted and are escaped. name: what to load, in its examples."""
    card, spec = model.card, NETWORKS[model.name]
    params = release.get("params", {})
    source, sources = _get(params, "download", "source"), release.get("sources", {})
    if sources:
        source = " + ".join(sources)
    dumped = yaml.safe_dump(params, sort_keys=True, allow_unicode=True).strip() if params else ""
    return load_template("model_card.md.j2", Path(__file__).parent / "templates").render(
        card=asdict(card),
        network=model.name,
        name=name,
        system=spec.system,
        num_parameters=count_parameters(model),
        licence=escape_markdown(release.get("licence") or ""),
        origins=[_describe_origin(*one) for one in (("model file", card.init), ("encoder's weights", card.encoder)) if one[1]],
        version=escape_markdown(release.get("depthmask") or "of an unknown version"),
        trained=[
            run | {"stage": escape_markdown(run["stage"]), "commit": escape_markdown(run.get("commit") or "")}
            for run in release.get("runs", [])
            if run["stage"] in params
        ],
        rows=list(list_main_scores(release)),
        notes=_describe_coverage(release),
        flipped=list(list_main_scores({"scores": release.get("flipped_scores", {})})),
        num_images=_get(release, "scores", "num_images") or "an unknown number of",
        others=[
            {
                "name": escape_markdown(name),
                "num_images": _get(other, "scores", "num_images"),
                "fitted_to": escape_markdown(other.get("fitted_to") or FITTED_TO),
                "rows": list(list_main_scores(other)),
                "notes": _describe_coverage(other),
            }
            for name, other in release.get("other_scores", {}).items()
        ],
        unit=words.UNIT_SIGNS.get(card.depth_unit, ""),
        source=source if source in SOURCES_SAID else escape_markdown(str(source), in_code=True),
        sources=[_describe_source(key, one, [row["spec"] for row in list_main_scores(release)]) for key, one in sources.items()],
        field_of_view_deg=find_trained_angle(params),
        data={escape_markdown(path, True): escape_markdown(md5, True) for path, md5 in release.get("data", {}).items()},
        versions={escape_markdown(name): escape_markdown(version) for name, version in release.get("versions", {}).items()},
        params=dumped,
        fence="`" * max(3, 1 + max((len(run) for run in BACKTICKS.findall(dumped)), default=0)),
    )


def _describe_source(name: str, source: Mapping[str, Any], specs: Sequence[ScoreSpec]) -> dict[str, Any]:
    """One of several sources, escaped, with its scores of these kinds."""
    texts = {"source": source["source"], "licence": source["licence"] or "unknown", "citation": source["citation"] or ""}
    values = [_get(source["scores"], spec.family, spec.name) for spec in specs]
    escaped = {key: escape_markdown(text, in_code=key == "source") for key, text in texts.items()}
    return {"name": escape_markdown(name, in_code=True), "weight": source["weight"], "values": values, **escaped}


def _describe_origin(what: str, origin: InitCard | EncoderCard) -> dict[str, str]:
    """Where weights that training started from come from, escaped."""
    texts = {"source": origin.source, "licence": origin.licence or "unknown", "sha256": origin.sha256}
    return {"what": what} | {name: escape_markdown(text, in_code=name != "licence") for name, text in texts.items()}


def escape_markdown(text: str, in_code: bool = False) -> str:
    """Escape text for one line or table cell; in_code: between backticks, where only backticks and bars are special."""
    line = " ".join(text.split())
    if in_code:
        return line.replace("`", "'").replace("|", r"\|")
    return MARKUP.sub(r"\\\g<0>", line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _get(values: Any, *keys: str) -> Any:
    """The value at nested keys; None if one is missing or not a mapping."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def list_main_scores(release: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The main scores, each with the best baseline; a score that the test set could not give is None."""
    scores, baselines = release.get("scores", {}), release.get("baselines", {})
    for spec in list_scores(at_least=Prominence.TABLE):
        if _has(scores, spec):
            key = words.choose_key(scores, spec)
            best = words.find_best_baseline(baselines, spec, key)
            yield {
                "spec": spec,
                "title": words.make_heading(spec, "", key),
                "value": scores[spec.family][key],
                "interval": words.describe_interval(scores[spec.family], key),
                "baseline": best and {"name": words.BASELINES.get(best[0]) or escape_markdown(best[0]), "value": best[1]},
            }


def _has(scores: Mapping[str, Any], spec: ScoreSpec) -> bool:
    family = scores.get(spec.family)
    return isinstance(family, Mapping) and spec.name in family


def _describe_coverage(release: Mapping[str, Any]) -> list[str]:
    """Why scores are missing, and over how many images means are, escaped."""
    scores = release.get("scores", {})
    specs = [spec for spec in list_scores(at_least=Prominence.TABLE) if _has(scores, spec)]
    return [escape_markdown(line) for line in words.describe_coverage(scores, specs)]


def _read_stages(lock: Path) -> dict[str, dict] | None:
    """The stages in dvc.lock by name, without those of further sources that were removed, whose entries DVC keeps."""
    if not lock.is_file():
        return None
    try:
        stages = dict(yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"])
        named = _list_more_sources(stages), _list_other_sets(stages)
        return {name: stage for name, stage in stages.items() if not is_gone(name, *named)}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise _make_lock_error(lock, error) from error


def _list_more_sources(stages: Mapping[str, dict]) -> set[str]:
    """The names of the further sources when the data were last split."""
    params = [sections for stage in stages.values() for sections in stage.get("params", {}).values()]
    return {name for sections in params for name in sections.get("download.more_sources") or ()}


def _list_other_sets(stages: Mapping[str, dict]) -> set[str]:
    """The names of the other data sets when the params were last checked."""
    params = stages.get(GUARD, {}).get("params", {}).values()
    return {name for sections in params for name in (sections.get("evaluate") or {}).get("more") or ()}


def _make_lock_error(lock: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:100]
    return UserError(f"{lock}: is not a DVC lock file ({reason}); run dvc repro")


def _find_ancestry(stages: Mapping[str, dict], last: str) -> list[str]:
    """The stages whose outputs, with exactly these bytes, led to `last`, and `last` itself, in topological order."""
    makers = {(path, md5): name for name, stage in stages.items() for path, md5 in _list_hashes(stage, "outs").items()}
    found: list[str] = []

    def visit(name: str) -> None:
        for output in _list_hashes(stages[name], "deps").items():
            # a folder of the outputs of several stages has a hash of its own
            inside = [maker for (path, _), maker in makers.items() if path.startswith(f"{output[0]}/")]
            for maker in [makers[output]] if output in makers else inside:
                if maker not in found:
                    visit(maker)
        found.append(name)

    visit(last)
    return found


def _read_outputs(root: Path, stage: Mapping, name: str) -> Iterator[Any]:
    """Yield the JSON of a stage's outputs with this file name, if they are unchanged since the stage wrote them."""
    for path, md5 in _list_hashes(stage, "outs").items():
        file = root / path
        if file.name == name and file.is_file() and _hash_md5(file) == md5:
            yield read_json(file)


def _list_hashes(stage: Mapping, kind: str) -> dict[str, str]:
    return {entry["path"]: entry.get("md5", "") for entry in stage.get(kind, [])}


def _is_data(path: str, stages: Mapping[str, dict]) -> bool:
    """Whether a path is data: neither code nor the guard's output."""
    return "workflow" not in path.split("/") and path not in _list_hashes(stages.get(GUARD, {}), "outs")


def _hash_md5(path: Path) -> str:
    """The MD5 of a file, DVC's name for its content; not a protection against forgery."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
