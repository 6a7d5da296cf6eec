"""depthmask: foreground masks and depth maps from photos, trained by a pipeline that can be repeated.

`depthmask.load(path)` gives a trained model that predicts photos: see depthmask.serving.predictor.
"""

import importlib
import os

# Before torch is loaded: idle compute threads wait for work by spinning, which starves whatever shares their cores (the
# loader, another training): twenty times slower was seen. A short spin costs next to nothing where nobody else is.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"


def __getattr__(name: str):
    """`depthmask.load`, found when it is asked for: a plain import of depthmask, as in a Snakefile, loads nothing heavy.

    By name and not by an import statement, or every stage would count as importing all that predicting needs.
    """
    if name == "load":
        return importlib.import_module("depthmask.serving.predictor").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
