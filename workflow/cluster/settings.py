"""Settings of Snakemake under which the graph cannot run; each is refused in one line before anything is looked at."""

from __future__ import annotations

from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from depthmask.base.errors import UserError

NEEDED = {SharedFSUsage.PERSISTENCE, SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.SOURCES}


def validate_settings(workflow: Any) -> None:
    """Refuse what Snakemake would only fail at in its jobs: no shared disk, or software that the jobs would not use.

    workflow: Snakemake's, as a Snakefile sees it.

    Raises:
        UserError: names the option and what to do instead.
    """
    storage = workflow.storage_settings
    if storage is None:
        return
    if storage.default_storage_provider:
        raise UserError(
            f"--default-storage-provider {storage.default_storage_provider}: stages read and write files of this folder, on a"
            " disk that every node shares; leave the option out, or run on one machine with --cores N (a bucket can be a DVC"
            " remote)"
        )
    if missing := NEEDED - set(storage.shared_fs_usage):
        names = ", ".join(sorted(usage.name.lower().replace("_", "-") for usage in missing))
        raise UserError(
            f"an executor or --shared-fs-usage without a shared disk (no {names}): stages read and write files of this folder,"
            " which every node must share; use such an executor (slurm, lsf, cluster-generic), or one machine with --cores N"
        )
    methods = sorted(method.name.lower().replace("_", "-") for method in workflow.deployment_settings.deployment_method)
    if methods:
        raise UserError(
            f"--software-deployment-method {methods[0]}: jobs run with the Python that runs Snakemake; leave the option out, and"
            " start Snakemake from the environment that you want (docs/cluster.md)"
        )
