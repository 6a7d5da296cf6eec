"""depthmask: foreground masks and depth maps from photos, trained by a reproducible pipeline.

`depthmask.load(path)` loads a trained model that predicts photos: see depthmask.serving.predictor.
"""

import importlib

__version__ = "0.1.0"


def __getattr__(name: str):
    """Resolve `depthmask.load` on first use: a plain import of depthmask, as in a Snakefile, loads nothing heavy.

    By name, not by an import statement, or every stage would depend on everything that predicting needs.
    """
    if name == "load":
        return importlib.import_module("depthmask.serving.predictor").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
