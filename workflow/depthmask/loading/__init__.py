"""Loads batches from the files of a split."""
