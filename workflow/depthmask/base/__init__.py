"""What every module stands on: errors as lines, files written whole, the terminal, processes."""
