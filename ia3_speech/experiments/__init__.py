"""What recipes and reports know of an experiment: its plan, its systems and scores, and tables of them."""
