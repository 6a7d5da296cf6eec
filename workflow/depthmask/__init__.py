"""depthmask: foreground masks and depth maps from photos, trained by a pipeline that can be repeated.

`depthmask.load(path)` gives a trained model that predicts photos: see depthmask.serving.predictor.
"""

import importlib

__version__ = "0.1.0"


def __getattr__(name: str):
    """`depthmask.load`, found when it is asked for: a plain import of depthmask, as in a Snakefile, loads nothing heavy.

    By name and not by an import statement, or every stage would count as importing all that predicting needs.
    """
    if name == "load":
        return importlib.import_module("depthmask.serving.predictor").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
