"""What a run records about itself: its run record, and the hardware it ran on."""
