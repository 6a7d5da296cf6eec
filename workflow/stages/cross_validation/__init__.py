"""Stages of the cross-validation's graph, one script each; run in the project's folder, where the paths in its params start."""
