"""The contents of an experiment's folder: systems and scores, their curves, and the tables of RESULTS.md."""
