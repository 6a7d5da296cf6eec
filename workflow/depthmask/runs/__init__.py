"""What a run leaves about itself: its record, and the hardware it ran on."""
