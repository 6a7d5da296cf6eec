"""What a sample and a batch are, and where random numbers come from."""
