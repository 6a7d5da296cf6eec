"""Confidence intervals of scores whose images are not independent: several show one background, or one cut-out."""
