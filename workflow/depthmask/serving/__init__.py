"""The model out of the door: predictions of photos from outside, files for other tools, the model card."""
