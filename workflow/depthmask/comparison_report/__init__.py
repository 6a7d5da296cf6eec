"""The page of `depthmask compare`."""
