"""Evaluates trained weights: test-set scores beside those of trivial baselines, and pictures of test samples."""
