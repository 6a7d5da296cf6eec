"""How a stage runs: its record, hardware, device, speed options and working folder."""
