"""One module for each command of `depthmask`."""
