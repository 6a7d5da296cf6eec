"""Finds paths in params.yaml that would cost a user files or results, before any output is removed.

Both tools remove a stage's outputs before they run it. So an input that equals, contains or is inside an output would be
deleted, and an unreadable input would cost the existing results for nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from depthmask.base.errors import ParamsError, UserError
from depthmask.catalog.archives import ARCHIVES, explain_file, find_archives, is_archive
from depthmask.catalog.layouts import explain_foreign_in
from depthmask.catalog.weights_files import list_weights_files
from depthmask.params import DownloadParams, ModelParams, Params
from depthmask.params.fields import Section
from depthmask.params.mixture import key_sources, name_keys
from depthmask.params.other_sets import find_fault_of_comparison, key_all_sources, key_other_sets
from depthmask.preflight.graph import KEPT_BY_TOOLS, read_graph
from depthmask.preflight.place import Place
from depthmask.registry.networks import NETWORKS
from depthmask.registry.sources import SOURCES

if TYPE_CHECKING:
    from depthmask.sources import Source

ENTRIES_MAX = 100_000  # checked for links in an input folder


def check_paths(params: Section, where: str, graph: Path = Path("dvc.yaml")) -> None:
    """Check that no input overlaps an output of the graph, and that all inputs exist.

    params: of the project or the leaderboard, with paths relative to the working folder; where: their file.

    Raises:
        ParamsError: names the key, its path and what is allowed.
        UserError: the graph cannot be read.
    """
    check_overlaps(params, where, graph)
    require_inputs(params, where)


def require_inputs(params: Section, where: str) -> None:
    """The second half of `check_paths`: the sources and the photos must exist."""
    for key, source in key_all_sources(params).items():
        _require_source(source, key, where)
    for key in ("photos", "ensemble"):
        folder = getattr(params.evaluate, key, None)  # a leaderboard's has neither
        if folder is not None:
            _require_readable(folder, f"evaluate.{key}", where)
            if not Path(folder).is_dir():
                raise ParamsError(f"{where}: evaluate.{key}: {folder} is not a folder; allowed: a folder, which may be empty")


def check_overlaps(params: Section, where: str, graph: Path = Path("dvc.yaml")) -> None:
    """The first half of `check_paths`: looks only at where paths lead, not at files."""
    sources, others, named, outputs = key_sources(params.download), key_other_sets(params), {}, {}
    for key, source in {**sources, **others}.items():
        named |= _list_other_inputs(source, key)
    if isinstance(params, Params):  # a leaderboard's networks are its recipes'
        named |= {key: str(file.path) for key, file in list_weights_files(params.model).items() if file.path is not None}
    if graph.exists():  # not if only a params file is checked
        paths = read_graph(graph, params.model_dump())
        named |= paths.inputs
        outputs = {(output, f"the stage {stage} removes"): Place.find(output) for output, stage in paths.outputs.items()}
    for key, path in named.items():
        if re.search(r"[\x00-\x1f\x7f]", path):
            raise ParamsError(f"{where}: {key}: {path!r} contains a control character; correct it")
        if "{" in path or "}" in path:
            raise ParamsError(f"{where}: {key}: {path} contains a brace, which Snakemake treats as a wildcard; rename it")
        _check_overlap(key, path, outputs, where)
    _check_distinct(sources, where)
    for key, other in others.items():  # one by one: two of them may be the same files, scored in two ways
        _check_distinct({**sources, key: other}, where)


def list_outside(params: Params) -> dict[str, str]:
    """The inputs that a relative path above the project leads to, by their keys.

    DVC runs an experiment of `dvc exp run --queue` or `--temp` in a copy of the project, from which they lead elsewhere; it stops
    at the missing file before any stage could say so.
    """
    named = {f"{key}.path": source.path for key, source in key_all_sources(params).items()}
    named |= {f"evaluate.{key}": getattr(params.evaluate, key) for key in ("photos", "ensemble")}
    named |= {key: str(file.path) for key, file in list_weights_files(params.model).items() if file.path is not None}
    return {key: path for key, path in named.items() if Path(os.path.normpath(path)).parts[:1] == (os.pardir,)}


def _check_distinct(sources: Mapping[str, DownloadParams], where: str) -> None:
    """Raise ParamsError if a source is in the same place as another or inside it: the same files would be read twice."""
    seen: dict[str, Place] = {}
    for key, source in sources.items():
        if source.urls or source.source not in SOURCES:  # a set that is named in a list
            continue
        place = Place.find(source.path)
        for other, theirs in seen.items():
            relation = place.relate(theirs)
            if relation:
                shown = f"{source.path} {relation} that of {other}.path: {sources[other].path}"
                raise ParamsError(f"{where}: {key}.path: {shown}; the same files would be used twice: choose separate folders")
        seen[key] = place


def _list_other_inputs(download: DownloadParams, key: str) -> dict[str, str]:
    """Inputs of the source behind `key` that the graph does not list as deps, by their keys."""
    others = {f"{key}.path": download.path}
    if download.backgrounds is not None:
        others[f"{key}.backgrounds"] = str(Path(download.path, download.backgrounds))
    if download.pseudo_labels is not None and Path(download.pseudo_labels.model).exists():
        others[f"{key}.pseudo_labels.model"] = download.pseudo_labels.model
    return others


def _check_overlap(key: str, path: str, outputs: Mapping[tuple[str, str], Place], where: str) -> None:
    """outputs: {(path, what removes it): its place}."""
    kept = {(name, "the tools clear"): Place.find(name) for name in KEPT_BY_TOOLS}
    for seen, shown in [(path, path), *_list_links(path)]:
        place = Place.find(seen)
        for (other, remover), theirs in [*outputs.items(), *kept.items()]:
            relation = place.relate(theirs)
            # a source may itself be a git repository; whatever else a link leads to is not read
            if relation == "holds" and (seen != path or other in KEPT_BY_TOOLS):
                continue
            if relation:
                what = shown if shown == other else f"{shown} {relation} {other}"
                raise ParamsError(f"{where}: {key}: {what}, which {remover}; choose a separate path")


def _list_links(path: str) -> Iterator[tuple[str, str]]:
    """(target, how to show it) of each link directly in a folder."""
    try:
        with os.scandir(path) as entries:
            for _, entry in zip(range(ENTRIES_MAX), entries):
                if entry.is_symlink():
                    yield entry.path, f"{entry.path}, a link,"
    except OSError:
        return


def _require_source(download: DownloadParams, section: str, where: str) -> None:
    """section: the key of the source."""
    path, key = download.path, f"{section}.path"
    _require_readable(path, key, where)
    is_folder = Path(path).is_dir()
    if path.endswith(".csv") and not is_folder:
        return  # the list of sets, read by `require_background`
    if not is_folder and not is_archive(path):
        if (explained := explain_file(Path(path))) is not None:
            raise ParamsError(f"{where}: {key}: {path} {explained}")
        raise ParamsError(f"{where}: {key}: {path} is neither a folder nor an archive; allowed: a folder, {', '.join(ARCHIVES)}")
    if is_folder and download.sha256 is not None:
        raise ParamsError(f"{where}: {section}.sha256: {path} is a folder, but a sha256 is for an archive; allowed: null")
    holds_archives = is_folder and bool(find_archives(Path(path)))
    if download.backgrounds is not None and is_folder and not holds_archives:
        folder = str(Path(path, download.backgrounds))
        _require_readable(folder, f"{section}.backgrounds", where)
        if not Path(folder).is_dir():
            raise ParamsError(f"{where}: {section}.backgrounds: {folder} is not a folder; allowed: one inside {key}")


def _require_readable(path: str, key: str, where: str) -> None:
    """Raise ParamsError if a path is missing, neither file nor folder, or unreadable."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        missing = isinstance(error, FileNotFoundError)
        raise ParamsError(
            f"{where}: {key}: {path} {'does not exist' if missing else f'cannot be read ({reason})'}; correct it, or create it"
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ParamsError(f"{where}: {key}: {path} is neither a file nor a folder; correct it")
    wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
    if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
        raise ParamsError(f"{where}: {key}: {path} cannot be read: permission denied; allow it, or choose another path")


def check_layout(download: DownloadParams, where: str, model: ModelParams | None = None) -> None:
    """Check that the folder of each source has the layout named by its `source`, as the download stage would.

    Archives and URLs are not checked: their contents are unknown until they are unpacked. model: the network that is trained on
    the sources; None if there are several, which have been checked.

    Raises:
        ParamsError: the folder does not fit the layout, or has no clean backgrounds and the network needs them.
    """
    for key, source in key_sources(download).items():
        _check_one_layout(key, source, where, model)


def check_other_layouts(params: Params, where: str) -> None:
    """The same for the other data sets that the network is scored on; also, that something in each of them can be scored.

    Raises:
        ParamsError: as `check_layout`, or a set has nothing but depth, of which none can be compared with the model's.
    """
    for key, source in key_other_sets(params).items():
        found = _check_one_layout(key, source, where, params.model)
        fault = find_fault_of_comparison(source.depth, params.download.depth)
        if fault is not None and found is not None and found.composites and not found.num_masks:
            lacks = f"{source.path} has no masks, so nothing could be scored; remove {key}"
            raise ParamsError(f"{where}: {key}.depth.{fault}; {lacks}")


def _check_one_layout(key: str, source: DownloadParams, where: str, model: ModelParams | None) -> Source | None:
    """The source in the folder at `key`, checked as in `check_layout`; None if it cannot be looked into yet."""
    from depthmask.sources import find_source_class  # late: imports numpy and OpenCV, which the Snakefiles do without

    path = Path(source.path)
    if source.source not in SOURCES or source.urls or not path.is_dir() or find_archives(path):
        return None
    foreign = explain_foreign_in(path, source)
    if foreign is not None:
        raise ParamsError(f"{where}: {key}.path: {foreign}")
    try:
        with name_keys(key):
            found = find_source_class(source.source)(path, source)
    except UserError as error:
        raise ParamsError(f"{where}: {key}.path: {error}") from error
    if model is not None and model.background_input and not found.has_backgrounds:
        allowed = f"another model.name, {model.name} needs it" if NETWORKS[model.name].needs_background else "false"
        lacks = f"model.background_input: true needs clean backgrounds, which {key}.path: {path} does not have"
        raise ParamsError(f"{where}: {lacks}; allowed: {allowed}; or add them")
    return found
