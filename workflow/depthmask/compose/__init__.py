"""Background + cut-out + placement -> composite."""
