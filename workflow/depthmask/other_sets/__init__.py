"""Other data sets, named in `evaluate.more`: the trained model is scored on all of each, and sees none of it in training."""
