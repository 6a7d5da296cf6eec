"""The training engine: loop, checkpoints, schedules, runtime, progress."""
