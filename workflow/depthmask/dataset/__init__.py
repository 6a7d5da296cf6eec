"""Composites as files on disk, for tools that do not compose their own: `depthmask dataset`."""
