"""One script a stage of dvc.yaml."""

from depthmask.environment import prepare_process

prepare_process()  # here, since what a stage imports loads torch
