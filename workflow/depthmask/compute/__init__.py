"""Where networks are computed: device, precision and CPU threads."""
