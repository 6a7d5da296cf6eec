"""The stages of dvc.yaml as Snakemake rules, one each; how they are judged and run: workflow/stage_graph.py."""

import sys
from pathlib import Path

SOURCE = Path(workflow.basedir) / "workflow"
sys.path.insert(0, str(SOURCE))  # this workspace's code, whatever is installed

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder(str(SOURCE))

from depthmask.preflight.project import check_params

# a training takes as many devices as it was granted
JOB = "export DEPTHMASK_DEVICES=${{DEPTHMASK_DEVICES:-{params.devices}}}; ({params.job}) > {log} 2>&1"


include: "workflow/common.smk"


# here, since an included rule is never the one that is run without being named
rule all:
    input:
        [path for stage in STAGES for path in stage.outputs],


include: "workflow/rules.smk"
