"""From the files of a split to batches."""
