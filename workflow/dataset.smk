"""`depthmask dataset` in shards, one job each, and a last job that completes the folder; see docs/dataset.md.

snakemake -s workflow/dataset.smk --cores 4 --config out=../composites count=400000 size=224 layout=coco shards=16

Of --config: out, count and shards, and optionally part, size, epoch, layout, format and source, as the options of the command.
"""

import re
import shlex
import sys
from pathlib import Path

SOURCE = Path(workflow.basedir)
sys.path.insert(0, str(SOURCE))  # this workspace's code, whatever is installed

from depthmask.base.entry_points import print_error
from depthmask.base.errors import UserError
from depthmask.base.files import hash_json

OPTIONS = ("part", "size", "epoch", "layout", "format", "source")
NEEDED = ("out", "count")


def read_options():
    """The folder, the number of shards, and the options of the command."""
    unknown = sorted(set(config) - {*NEEDED, *OPTIONS, "shards"})
    missing = [name for name in NEEDED if name not in config]
    if unknown or missing:
        what = f"{unknown[0]} is not known" if unknown else f"{missing[0]} is missing"
        raise UserError(f"--config: {what}; allowed: {', '.join((*NEEDED, 'shards', *OPTIONS))}, such as count=1000")
    shards = str(config.get("shards", 8))
    if not re.fullmatch(r"[1-9]\d{0,3}", shards):
        raise UserError(f"--config shards={shards}: allowed: 1 to 9999")
    options = [f"--{name} {shlex.quote(str(config[name]))}" for name in ("count", *OPTIONS) if name in config]
    return str(config["out"]), int(shards), " ".join(options)


try:
    OUT, SHARDS, ARGUMENTS = read_options()
except UserError as error:
    raise SystemExit(print_error(error))

# this environment's python, whatever is on the PATH
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH PYTHONPATH={shlex.quote(str(SOURCE))}; ")
COMMAND = f"DEPTHMASK_WORKERS={{threads}} python -m depthmask dataset --out {shlex.quote(OUT)} {ARGUMENTS}"
PART = config.get("part", "train")
INPUTS = ["params.yaml", "data/raw/source.json", f"data/split/{PART}.csv"]
# marks are of these options only: with others the jobs run, and the command refuses the folder
MARKS = f"{OUT}/.dataset/shards/{hash_json(ARGUMENTS)[:12]}"
SHARD, WHOLE = f"{MARKS}/{{shard}}_of_{SHARDS}", f"{MARKS}/whole"


rule all:
    input:
        f"{OUT}/dataset.json",
        WHOLE,


rule dataset_shard:
    input:
        INPUTS,
    output:
        # a mark; the composites themselves are kept, so that a killed shard continues where it stopped
        touch(SHARD),
    wildcard_constraints:
        shard=r"\d+",
    log:
        "logs/dataset/shard_{shard}.log",
    conda:
        "envs/depthmask.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    shell:
        COMMAND + f" --shard {{wildcards.shard}}/{SHARDS} > {{log}} 2>&1"


rule dataset:
    input:
        INPUTS,
        expand(SHARD, shard=range(1, SHARDS + 1)),
    output:
        f"{OUT}/dataset.json",
        touch(WHOLE),
    log:
        "logs/dataset/dataset.log",
    conda:
        "envs/depthmask.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        COMMAND + " > {log} 2>&1"
