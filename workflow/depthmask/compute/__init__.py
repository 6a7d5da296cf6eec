"""Where networks are computed: the device, its precision, and the threads of the CPU."""
