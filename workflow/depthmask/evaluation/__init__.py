"""Evaluates trained weights: test-set scores beside those of trivial baselines, and images of test samples."""
