"""Whoever looks at a running pipeline from the login node, without end: `dvc status` and `snakemake -n`, every second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from running_slurm import Cluster

COMMANDS = (("dvc", "status"), ("snakemake", "-n", "--quiet"))


@dataclass
class Looks:
    """How often was looked, and what a look that failed printed."""

    number: int = 0
    number_busy: int = 0  # DVC's own commands give up if a job records its result for more than three seconds
    failures: list[str] = field(default_factory=list)


@contextmanager
def look_every_second(cluster: Cluster, *folders: Path) -> Iterator[Looks]:
    """Look into each folder with each command from the login node, again a second after the last look ended, during the block."""
    looks, is_over = Looks(), threading.Event()

    def look(folder: Path, command: tuple[str, ...]) -> None:
        while not is_over.wait(1):
            started = cluster.start(folder, *command)
            output = started.communicate()[0]
            looks.number += 1
            if command[0] == "dvc" and "Unable to acquire lock" in output:
                looks.number_busy += 1
            elif started.returncode or "Traceback" in output:
                looks.failures.append(f"{' '.join(command)} in {folder.name}: exit code {started.returncode}\n{output}")

    threads = [threading.Thread(target=look, args=(folder, command)) for folder in folders for command in COMMANDS]
    for thread in threads:
        thread.start()
    try:
        yield looks
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
