"""Where the weights come from that a training starts with: encoders from packages, model files."""
