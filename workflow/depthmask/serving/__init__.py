"""Predicts photos with a trained model."""
