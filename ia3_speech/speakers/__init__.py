"""Adapters of a few minutes of speech, of one person or of each of many, which folds choose and judge.

cross_validation    folds choose how long and how far to adapt; all of it trains one
few_run             `ia3-speech train` without dev
speaker_run         `ia3-speech speakers`
"""
