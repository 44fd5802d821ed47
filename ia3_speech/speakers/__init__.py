"""Adapters of a few minutes of speech for each speaker of a data directory, evaluated by folds."""
