"""Samples, batches, and the reading of image files."""
