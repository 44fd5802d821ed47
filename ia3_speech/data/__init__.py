"""Audio and transcripts: utterances, audio files, text, Kaldi directories, Hugging Face datasets, corpora."""
