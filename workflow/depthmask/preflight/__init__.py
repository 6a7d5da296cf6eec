"""What is checked before anything runs: files, paths, memory, disk and time."""
