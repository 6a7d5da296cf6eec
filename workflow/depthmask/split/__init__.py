"""Writers of a split: for the split stage alone."""
