"""One script a stage of dvc.yaml."""

from depthmask.orphans import end_with_tool

end_with_tool()  # here, since a stage's own imports take seconds, in which its tool may die
