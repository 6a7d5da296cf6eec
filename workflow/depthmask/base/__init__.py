"""The foundation of every module: one-line errors, atomic file writes, terminal output, process handling."""
