"""Prepare corpora as Kaldi data directories: recordings with a table or text files, or Kaldi directories."""
