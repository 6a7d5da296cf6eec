"""A search over params: the trials of a sweep, their budget, and a table that ranks them."""
