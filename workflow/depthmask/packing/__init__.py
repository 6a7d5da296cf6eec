"""Writes the packed store, for the pack stage."""
