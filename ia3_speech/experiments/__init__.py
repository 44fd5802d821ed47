"""What recipes and reports know of an experiment: its plan, its systems and their scores, and tables of them."""
