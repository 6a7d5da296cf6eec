"""One script for each stage of dvc.yaml."""

from depthmask.base.shadowing import validate_workflow_folder

validate_workflow_folder()  # first: before any import that a file in workflow/ could shadow

from depthmask.base.environment import prepare_process
from depthmask.base.orphans import end_with_tool

end_with_tool()  # here: a stage's own imports take seconds, during which its tool may die
prepare_process()  # here: what a stage imports loads torch
