"""How a long stage works: its processes and checkpoints, and the working folder that a rerun resumes from."""
