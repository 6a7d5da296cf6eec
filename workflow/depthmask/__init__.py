"""depthmask: foreground masks and depth maps from photos, trained by a pipeline that can be repeated."""

import os

# Before torch is loaded: idle compute threads wait for work by spinning, which starves whatever shares their cores (the
# loader, another training): twenty times slower was seen. A short spin costs next to nothing where nobody else is.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
