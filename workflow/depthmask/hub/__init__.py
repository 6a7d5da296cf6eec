"""Models on the Hugging Face Hub: fetched by their address hf://OWNER/NAME, and pushed with their card."""
