"""depthmask: foreground masks and depth maps from single photos, trained by a pipeline that can be repeated."""

__version__ = "0.1.0"
