"""Samples, batches and random numbers."""
