"""The stages of sweep/dvc.yaml."""
