"""Every recipe trained under equal conditions, and a table that ranks them."""
