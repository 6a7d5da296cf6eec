"""Cross-validation: the project's params on several folds from several seeds, and where the differences come from."""
