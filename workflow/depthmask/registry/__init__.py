"""What can be chosen by name: one line for each loss, network and layout of data. Neither torch nor NumPy is imported.

A line says which file of `losses/`, `models/` or `sources/` the thing is in; that file is imported when the thing
is used. The schema of params.yaml, the page and every table derive from these lines (docs/extending.md).
"""
