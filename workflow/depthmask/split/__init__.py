"""Writes a split, for the split stage."""
