"""What trained weights are worth: scores beside those of answers that need no network, pictures, photos from outside."""
