"""Colours and grids of pictures for people."""
