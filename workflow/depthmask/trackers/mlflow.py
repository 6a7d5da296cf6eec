"""MLflow: a run per training, in a database of its own in runs/, or wherever MLFLOW_TRACKING_URI says.

Nothing is sent: the counts of its use that MLflow would report are turned off, unless MLFLOW_DISABLE_TELEMETRY=false.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

# read when it is imported. An address that nobody answers at is given up after seconds, not the twenty minutes of its defaults
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from depthmask.trackers import TrackedRun, Tracker  # noqa: E402
from depthmask.trackers.pictures import convert_to_bytes  # noqa: E402

URI, EXPERIMENT, EXPERIMENT_OF_DVC = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME"
NAME = "depthmask"  # of the experiment, if the environment has none
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
PARAMS_AT_ONCE = 100  # of MLflow's interface


def open_tracker(run: TrackedRun) -> Tracker:
    """The tracker of a training."""
    return Mlflow(run)


class Mlflow(Tracker):
    """Uses MLflow's client alone, which leaves the process's active run to whoever else has one."""

    def __init__(self, run: TrackedRun):
        self.run = run
        self.store = (run.shared_logs / "mlflow").absolute()
        self.place = os.environ.get(URI) or f"sqlite:///{self.store / 'mlflow.db'}"
        self._client: MlflowClient | None = None
        self._id = ""

    def start(self, first_step: int, known_id: str | None) -> str:
        is_own = not os.environ.get(URI)
        if is_own:
            self.store.mkdir(parents=True, exist_ok=True)
            logging.getLogger("alembic").setLevel(logging.ERROR)  # a line for each table of a new database
        client = MlflowClient(tracking_uri=self.place)
        self._id = _find_run(client, known_id) or self._create_run(client, (self.store / "files").as_uri() if is_own else None)
        self._client = client
        params = [Param(key, text) for key, text in _flatten(self.run.params)]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            client.log_batch(self._id, params=params[first : first + PARAMS_AT_ONCE])
        return self._id

    def _create_run(self, client: MlflowClient, files: str | None) -> str:
        """files: where a new experiment keeps its pictures; None: where the server puts them."""
        name = os.environ.get(EXPERIMENT) or NAME
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, artifact_location=files)
        of_dvc = os.environ.get(EXPERIMENT_OF_DVC)
        tags = {"stage": self.run.stage, "key": self.run.folder.name} | ({"dvc_experiment": of_dvc} if of_dvc else {})
        run_name = f"{self.run.stage} {of_dvc}" if of_dvc else self.run.stage
        return client.create_run(experiment, run_name=run_name, tags=tags).info.run_id

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(key, value, now, step) for key, value in values.items()])

    def add_picture(self, name: str, picture_3HW: torch.Tensor, step: int) -> None:
        self._client.log_image(self._id, convert_to_bytes(picture_3HW), key=name, step=step)

    def end(self, outcome: str) -> None:
        if self._client is not None:
            self._client.set_terminated(self._id, STATUS[outcome])


def _find_run(client: MlflowClient, known_id: str | None) -> str | None:
    """The run that a resumed training belongs to, made active again; None if this store has none."""
    if known_id is None:
        return None
    try:
        client.update_run(known_id, status="RUNNING")
    except MlflowException:
        return None
    return known_id


def _flatten(params: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(key as params.yaml's messages write it, value as JSON, or as it is if it is a text)."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value)
