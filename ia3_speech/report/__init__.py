"""Records of an experiment in; RESULTS.md, the HTML page, its figures, and the last lines of a recipe out."""
