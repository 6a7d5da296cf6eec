"""depthmask: foreground masks and depth maps from photos, trained by a reproducible pipeline.

`depthmask.load(path)` loads a trained model that predicts photos, or several whose predictions are averaged: see
depthmask.serving.loading; `depthmask.load("hf://OWNER/NAME")` loads one from the Hugging Face Hub.
`depthmask.load_shipped(True)` loads the one that comes with the package and takes the clean background,
`depthmask.load_shipped(False)` the one that does not.
"""

import importlib

__version__ = "0.1.0"
LATE = {"load": "depthmask.hub.loading", "load_shipped": "depthmask.serving.shipped"}


def __getattr__(name: str):
    """Resolve `load` and `load_shipped` on first use: a plain import of depthmask, as in a Snakefile, loads nothing heavy.

    By name, not by an import statement, or every stage would depend on everything that predicting needs.
    """
    if name in LATE:
        return getattr(importlib.import_module(LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
