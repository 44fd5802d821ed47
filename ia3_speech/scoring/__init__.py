"""Word errors, their uncertainty, and Kaldi's score files: texts and arrays, no model."""
