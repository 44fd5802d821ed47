"""N-gram language models: estimation, ARPA files, search weights, hot words."""
