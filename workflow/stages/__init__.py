"""One script a stage of dvc.yaml."""

from depthmask.base.shadowing import refuse_strangers

refuse_strangers()  # here, before anything is imported that something in workflow/ could take the place of

from depthmask.base.environment import prepare_process
from depthmask.base.orphans import end_with_tool

end_with_tool()  # here, since a stage's own imports take seconds, in which its tool may die
prepare_process()  # here, since what a stage imports loads torch
