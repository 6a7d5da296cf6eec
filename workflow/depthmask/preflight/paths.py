"""Paths in params.yaml that would cost a user files or results, found before any output is removed.

Both tools remove a stage's outputs before they run it. So an input that an output is, holds or lies in would be deleted, and one
that cannot be read would cost the results that are there and give none.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from depthmask.base.errors import ParamsError, UserError
from depthmask.catalog.archives import ARCHIVES, is_archive
from depthmask.params import DownloadParams
from depthmask.params.fields import Section
from depthmask.preflight.graph import KEPT_BY_TOOLS, read_graph
from depthmask.preflight.place import Place

ENTRIES_MAX = 100_000  # of an input folder that are looked at for links


def check_paths(params: Section, where: str, graph: Path = Path("dvc.yaml")) -> None:
    """Check that no input overlaps with an output of the graph, and that all inputs exist.

    params: those of the project or of the leaderboard, their paths as seen from the working folder; where: their file.

    Raises:
        ParamsError: names the key, its path and what is allowed.
        UserError: the graph cannot be read.
    """
    check_overlaps(params, where, graph)
    require_inputs(params, where)


def require_inputs(params: Section, where: str) -> None:
    """The second half of `check_paths`: the source and the photos must exist."""
    _require_source(params.download, where)
    photos = getattr(params.evaluate, "photos", None)  # a leaderboard's has none
    if photos is not None:
        _require_readable(photos, "evaluate.photos", where)
        if not Path(photos).is_dir():
            raise ParamsError(f"{where}: evaluate.photos: {photos} is no folder; allowed: a folder, empty if there are no photos")


def check_overlaps(params: Section, where: str, graph: Path = Path("dvc.yaml")) -> None:
    """The first half of `check_paths`: only where the paths lead, no file is looked at."""
    named, outputs = _list_other_inputs(params.download), {}
    if graph.exists():  # not where a file of params alone is checked
        paths = read_graph(graph, params.model_dump())
        named |= paths.inputs
        outputs = {(output, f"the stage {stage} removes"): Place.find(output) for output, stage in paths.outputs.items()}
    for key, path in named.items():
        if re.search(r"[\x00-\x1f\x7f]", path):
            raise ParamsError(f"{where}: {key}: {path!r} has a control character; correct it")
        if "{" in path or "}" in path:
            raise ParamsError(f"{where}: {key}: {path} has a brace, which Snakemake takes for a wildcard; rename it")
        _check_overlap(key, path, outputs, where)


def _list_other_inputs(download: DownloadParams) -> dict[str, str]:
    """Inputs that the graph does not list as deps, by their keys."""
    others = {"download.path": download.path}
    if download.backgrounds is not None:
        others["download.backgrounds"] = str(Path(download.path, download.backgrounds))
    if download.pseudo_labels is not None and Path(download.pseudo_labels.model).exists():
        others["download.pseudo_labels.model"] = download.pseudo_labels.model
    return others


def _check_overlap(key: str, path: str, outputs: Mapping[tuple[str, str], Place], where: str) -> None:
    """outputs: {(path, who removes it): its place}."""
    kept = {(name, "the tools clear"): Place.find(name) for name in KEPT_BY_TOOLS}
    for seen, shown in [(path, path), *_list_links(path)]:
        place = Place.find(seen)
        for (other, remover), theirs in [*outputs.items(), *kept.items()]:
            relation = place.relate(theirs)
            # a source may be a repository itself, with .git in it; what else a link leads to is not read
            if relation == "holds" and (seen != path or other in KEPT_BY_TOOLS):
                continue
            if relation:
                what = shown if shown == other else f"{shown} {relation} {other}"
                raise ParamsError(f"{where}: {key}: {what}, which {remover}; name a path apart from it")


def _list_links(path: str) -> Iterator[tuple[str, str]]:
    """(where it leads, how it is shown) of each link that lies right in a folder."""
    try:
        with os.scandir(path) as entries:
            for _, entry in zip(range(ENTRIES_MAX), entries):
                if entry.is_symlink():
                    yield entry.path, f"{entry.path}, a link,"
    except OSError:
        return


def _require_source(download: DownloadParams, where: str) -> None:
    path, key = download.path, "download.path"
    _require_readable(path, key, where)
    is_folder = Path(path).is_dir()
    if path.endswith(".csv") and not is_folder:
        return  # the list of sets, which `require_background` reads
    if not is_folder and not is_archive(path):
        raise ParamsError(f"{where}: {key}: {path} is neither a folder nor an archive; allowed: a folder, {', '.join(ARCHIVES)}")
    if is_folder and download.sha256 is not None:
        raise ParamsError(f"{where}: download.sha256: {path} is a folder, and a sha256 is that of an archive; allowed: null")
    holds_archives = is_folder and any(is_archive(entry) for entry in Path(path).iterdir())
    if download.backgrounds is not None and is_folder and not holds_archives:
        folder = str(Path(path, download.backgrounds))
        _require_readable(folder, "download.backgrounds", where)
        if not Path(folder).is_dir():
            raise ParamsError(f"{where}: download.backgrounds: {folder} is no folder; allowed: one within download.path")


def _require_readable(path: str, key: str, where: str) -> None:
    """Raise ParamsError for what is missing, is neither a file nor a folder, or cannot be read."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        missing = isinstance(error, FileNotFoundError)
        raise ParamsError(
            f"{where}: {key}: {path} {'does not exist' if missing else f'cannot be read ({reason})'}; correct it, or make it"
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ParamsError(f"{where}: {key}: {path} is neither a file nor a folder; correct it")
    wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
    if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
        raise ParamsError(f"{where}: {key}: {path} cannot be read: permission denied; allow it, or name another path")


def check_layout(download: DownloadParams, where: str) -> None:
    """Check that a folder has the layout that `download.source` names, as the download stage would.

    Archives and addresses are not checked: nothing is known of them before they are unpacked.

    Raises:
        ParamsError: what the reader of the layout misses.
    """
    from depthmask.registry.sources import SOURCES
    from depthmask.sources import find_source_class  # late: numpy and OpenCV, which the Snakefiles do without

    path = Path(download.path)
    if download.source not in SOURCES or download.urls or not path.is_dir() or any(map(is_archive, path.iterdir())):
        return
    try:
        find_source_class(download.source)(path, download)
    except UserError as error:
        raise ParamsError(f"{where}: download.path: {error}") from error
