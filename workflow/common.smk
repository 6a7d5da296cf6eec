"""The stages of the dvc.yaml in the working folder, and what their rules are made with.

A Snakefile that includes this and rules.smk has SOURCE (the folder workflow/, from which it imports), check_params (which
raises UserError before anything is looked at) and JOB (the shell command of every rule).
"""

import os
import re
import shlex
import signal
import sys
from pathlib import Path, PurePosixPath

import run_folder
from cluster.leftovers import settle_leftover_jobs
from cluster.retries import Retries, note_exit_code
from cluster.settings import validate_settings
from depthmask.base.entry_points import print_error
from depthmask.base.errors import UserError
from depthmask.base.orphans import STARTED_BY
from depthmask.base.process_identity import name_process
from snakemake_lock import hold_snakemake_lock, is_alone
from stage_graph import load_stages, read_stages, refuse_second_run

# this environment's dvc and python, whatever is on the PATH; a stage ends when this process does. A scheduler signals every
# process of a job: a stage saves and ends, and the shell around it, which would be gone at once, waits for that
shell.prefix(
    f"trap '' TERM USR1 USR2; set -euo pipefail; "
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH {STARTED_BY}={name_process()}; "
)
for number in (signal.SIGUSR1, signal.SIGUSR2):
    # Snakemake itself does not handle them, and would end before its jobs have saved
    signal.signal(number, (lambda *_: os.kill(os.getpid(), signal.SIGTERM)) if workflow.is_main_process else signal.SIG_IGN)

try:
    if workflow.is_main_process:
        validate_settings(workflow)
        check_params()
        hold_snakemake_lock()
        run_folder.remove_old_runs()
        run_folder.remove_on_exit()
        STAGES = load_stages(with_status=True, is_dry=workflow.output_settings.dryrun)
        run_folder.write_graph(STAGES)
    else:
        STAGES = read_stages()
except UserError as error:
    run_folder.remove()
    # not an exception: Snakemake would wrap the one line in a traceback
    os._exit(print_error(error))

if run_folder.GRAPH in os.environ:  # not in a job whose cluster dropped it

    envvars:
        run_folder.GRAPH,


# after Snakemake took its lock, before it removes an output; not if it only looks, as with -n or --unlock
onstart:
    if workflow.is_main_process:
        if workflow.remote_execution_settings.immediate_submit:
            run_folder.keep()
        try:
            if is_alone():
                settle_leftover_jobs()
            refuse_second_run()
        except UserError as error:
            raise SystemExit(print_error(error))


CODES = run_folder.name_codes()  # where jobs leave the exit codes by which it is judged whether they are started again
# a training that saved at a signal of Slurm's goes back into the queue
REQUEUE = f"python {shlex.quote(str(SOURCE / 'cluster/requeue.py'))} {{log}}"
JOB += note_exit_code(CODES) + f' || {{{{ code=$?; [ -z "${{{{SLURM_JOB_ID:-}}}}" ] || {REQUEUE}; exit $code; }}}}'


def count_retries(rule, log):
    """None in a job's own Snakemake, whose end the main process judges."""
    return Retries(rule, CODES, Path(log), lambda: workflow.local_exec) if workflow.is_main_process else None


# of a folder's images, those that show several maps side by side; single maps are for the page
TOGETHER = ["grid_{group}.png", "{photo}.picture.png"]


def list_inputs(stage, *more):
    """What a clean stage takes never makes it run; a stale one has a note, newer than its outputs."""
    inputs = [*stage.inputs, *more]
    return ancient(inputs) if stage.clean else [*inputs, *stage.notes]


def is_local(stage):
    """Whether it runs beside the main process; `--config on_nodes=download,weights` sends such stages to nodes all the same."""
    return stage.is_local and stage.name not in re.split(r"[,\s]+", str(config.get("on_nodes", "")))


def request_resources(stage):
    """`gpu: N`, for `--gpus=N`; with `--config gres=gpu:a100` (or gpu) instead `gres: gpu:a100:N`, for `--gres`."""
    resources = dict(stage.resources)
    if config.get("gres") and "gpu" in resources:
        resources["gres"] = f"{config['gres']}:{resources.pop('gpu')}"
    return resources


def count_devices(wildcards, resources):
    """How many devices a job was granted; 1 where none is counted."""
    return resources.get("gpu") or int(re.search(r"\d*$", str(resources.get("gres", "")))[0] or 1)


def declare_output(stage, path):
    """A folder, or a file; what has a caption under its own name is in `snakemake --report`."""
    name = PurePosixPath(path).relative_to("reports") if path.startswith("reports/") else PurePosixPath(path)
    caption = SOURCE / "captions" / "_".join(name.with_suffix(".rst").parts)
    folder = not PurePosixPath(path).suffix
    target = directory(path) if folder else path
    if not caption.exists():
        return target
    return report(target, caption=str(caption), category=stage.rule, **({"patterns": TOGETHER} if folder else {}))
