"""N-gram language models: estimation, ARPA files, hot words."""
