"""Audio and texts in: utterances, Kaldi data directories, Hugging Face datasets, corpora."""
