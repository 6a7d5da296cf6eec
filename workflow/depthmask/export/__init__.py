"""Exports a trained model: file formats and model card."""
