"""The batch that everything reads, what it is made of, and how its pictures are read from files."""
