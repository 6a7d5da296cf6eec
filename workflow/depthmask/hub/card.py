"""The model card as the Hugging Face Hub reads it: a YAML header before the text, with which it can be found and compared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from depthmask.export.release import list_main_scores, write_model_card
from depthmask.hub.failures import import_hub
from depthmask.models.model_file import DepthMaskModel

LIBRARY, TASK, OTHER_TASK = "depthmask", "image-segmentation", "depth-estimation"
TASKS = {"mask": TASK, "depth": OTHER_TASK}  # of the Hub, by family of scores
DATA_SET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
DEMO, DEMO_NAME = "demo", "depthmask-demo"
OTHER_LICENCE = "other"
# identifiers that the Hub knows, of licences that models and data have: SPDX's in lower case
LICENCES = """
    apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsl-1.0 cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0 ecl-2.0 epl-1.0
    epl-2.0 eupl-1.1 eupl-1.2 gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc mpl-2.0 ms-pl ncsa odbl ofl-1.1 pddl
    postgresql unlicense wtfpl zlib etalab-2.0 osl-3.0 lppl-1.3c c-uda cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0
"""


def write_hub_card(model: DepthMaskModel, release: Mapping[str, Any], address: str) -> str:
    """The card with its header, as Markdown; address: under which the model will be loaded."""
    hub = import_hub()
    results = [
        hub.EvalResult(
            task_type=TASKS[row["spec"].family],
            dataset_type=_find_data_set(release) or "unknown",
            dataset_name="test set",
            metric_type=row["spec"].column,
            metric_name=row["title"],
            metric_value=row["value"],
        )
        for row in list_main_scores(release)
        if row["value"] is not None and math.isfinite(row["value"]) and row["spec"].family in TASKS
    ]
    data = hub.ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=[LIBRARY, OTHER_TASK, model.name],
        datasets=_list_data_sets(release) or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=address.rpartition("/")[2] if results else None,
        eval_results=results or None,
        **_describe_licence(release.get("licence")),
    )
    return f"---\n{data.to_yaml()}\n---\n{write_model_card(model, release, address)}"


def _describe_licence(licence: str | None) -> dict[str, str]:
    """The keys of the header; one that the Hub has no identifier of is named beside it."""
    if not licence:
        return {}
    name = licence.strip().lower()
    if name in LICENCES.split():
        return {"license": name}
    return {"license": OTHER_LICENCE, "license_name": re.sub(r"[^a-z0-9.]+", "-", name).strip("-") or OTHER_LICENCE}


def _list_data_sets(release: Mapping[str, Any]) -> list[str]:
    """The names of the sources that the model was trained on, as far as the Hub takes them; paths and URLs are not names."""
    sources = release.get("sources") or {}
    download = (release.get("params") or {}).get("download")
    named = list(sources) if sources else [download.get("source")] if isinstance(download, Mapping) else []
    names = [DEMO_NAME if name == DEMO else name for name in named if isinstance(name, str)]
    return [name for name in dict.fromkeys(names) if DATA_SET.fullmatch(name)]


def _find_data_set(release: Mapping[str, Any]) -> str | None:
    return next(iter(_list_data_sets(release)), None)
