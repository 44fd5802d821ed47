"""Error rates of texts with intervals and tests, and their files; no model is loaded."""
