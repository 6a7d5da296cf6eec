"""The batch that everything reads, what it is made of, and where random numbers come from."""
