"""Writers of the packed store: for the pack stage."""
