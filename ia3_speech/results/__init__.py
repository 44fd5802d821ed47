"""What an experiment's folder holds: its systems and scores, curves of them, and the tables of RESULTS.md."""
