"""How a stage runs here: its record, hardware, device, speed options, working folder."""
