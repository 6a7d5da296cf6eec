"""Samples, batches, and the reading of picture files."""
