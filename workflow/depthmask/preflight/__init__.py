"""Checks made before anything runs: files, paths, memory, disk and time."""
