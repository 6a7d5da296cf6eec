"""What trained weights are worth: scores of the test set beside those of trivial baselines, and its pictures."""
