"""What can be chosen by name: one line per loss, network and data layout. Imports neither torch nor NumPy.

A line names the file in `losses/`, `models/` or `sources/`, which is imported on first use. The schema of params.yaml, the page
and every table are derived from these lines (docs/extending.md).
"""
