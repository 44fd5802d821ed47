"""Error rates of texts with intervals and tests, and the files that hold them; no model is loaded."""
