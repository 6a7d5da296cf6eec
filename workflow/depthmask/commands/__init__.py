"""One module per `depthmask` command."""
