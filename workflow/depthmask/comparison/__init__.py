"""Compares two evaluations of the same test images: which scores differ by more than their images explain."""
