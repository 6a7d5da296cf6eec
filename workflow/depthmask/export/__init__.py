"""A trained model for others: formats and cards."""
