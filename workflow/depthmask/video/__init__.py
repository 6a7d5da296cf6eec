"""Predicts clips frame by frame: reading, clean backgrounds out of the clip, smoothing in time, writing, resuming."""
