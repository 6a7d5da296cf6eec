"""One script for each stage of dvc.yaml."""

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder()  # first: before any import that a file in workflow/ could shadow

from depthmask.base.stop_signals import leave_on_stop_signals

leave_on_stop_signals()

from depthmask.base.environment import prepare_process
from depthmask.base.orphans import end_with_tool
from depthmask.base.own_code import run_own_code
from depthmask.base.stage_lease import take_lease_or_exit

run_own_code()
take_lease_or_exit()  # first of all that might take time: another run of the same stage may be active
end_with_tool()  # here: a stage's own imports take seconds, and its tool may die meanwhile
prepare_process()  # here: before a stage's imports load torch
