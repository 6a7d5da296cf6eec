"""From a part of the split to samples and batches."""
