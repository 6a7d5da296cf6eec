"""The stages of dvc.yaml as Snakemake rules, one each; how they are judged and run: workflow/depthmask/stage_graph.py."""

import os
import shlex
import sys
from pathlib import Path, PurePosixPath

SOURCE = Path(workflow.basedir) / "workflow"
sys.path.insert(0, str(SOURCE))  # this workspace's code, whatever is installed
# and this environment's dvc and python, whatever is on the PATH
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

from depthmask.errors import UserError
from depthmask.params import load_params
from depthmask.stage_graph import load_stages

try:
    if workflow.is_main_process:
        load_params()
    STAGES = load_stages(with_status=workflow.is_main_process)
except UserError as error:
    # not an exception: Snakemake would wrap the one line in a traceback
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def list_inputs(stage, *more):
    """What a clean stage takes never makes it run; a stale one has a note, newer than its outputs."""
    inputs = [*stage.inputs, *more]
    return ancient(inputs) if stage.clean else [*inputs, *stage.notes]


def declare_output(stage, path):
    """A folder, or a file; what has a caption under its own name is in `snakemake --report`."""
    name = PurePosixPath(path).relative_to("reports") if path.startswith("reports/") else PurePosixPath(path)
    caption = SOURCE / "captions" / "_".join(name.with_suffix(".rst").parts)
    folder = not PurePosixPath(path).suffix
    target = directory(path) if folder else path
    if not caption.exists():
        return target
    return report(target, caption=str(caption), category=stage.rule, **({"patterns": ["{picture}.png"]} if folder else {}))


rule all:
    input:
        [path for stage in STAGES for path in stage.outputs],


for stage in STAGES:

    rule:
        name:
            stage.rule
        input:
            list_inputs(stage, *stage.shards),
        output:
            [declare_output(stage, path) for path in stage.outputs],
        log:
            stage.log,
        benchmark:
            f"logs/benchmarks/{stage.rule}.tsv"
        conda:
            "workflow/envs/depthmask.yaml"
        threads: stage.threads
        resources:
            **stage.resources,
        params:
            job=stage.job,
            values=stage.params,
            devices=lambda wildcards, resources: resources.get("gpu", 1),
        message:
            f"{stage.name}: {stage.description} (to follow it: tail -f {stage.log})".replace("{", "{{").replace("}", "}}")
        shell:
            # a training takes as many devices as it was granted
            "export DEPTHMASK_DEVICES=${{DEPTHMASK_DEVICES:-{params.devices}}}; "
            "({params.job}) > {log} 2>&1"


for stage in [stage for stage in STAGES if stage.shards]:

    rule:
        name:
            f"{stage.rule}_shard"
        input:
            list_inputs(stage),
        output:
            temp(str(PurePosixPath(stage.shards[0]).with_name("{shard}.npz"))),
        log:
            f"logs/{stage.rule}/{{shard}}.log",
        conda:
            "workflow/envs/depthmask.yaml"
        resources:
            **stage.resources,
        params:
            job=lambda wildcards, stage=stage: stage.shard_job(int(wildcards.shard)),
            values=stage.params,
        shell:
            "({params.job}) > {log} 2>&1"
