"""Adapters of a few minutes of speech, of one person or of each of many, which folds choose and judge."""
