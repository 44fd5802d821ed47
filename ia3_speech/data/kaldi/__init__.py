"""Kaldi data directories (`ia3-speech datadir`)."""

from ia3_speech.data.kaldi.directory import (
    DataDirectory,
    read_data_directory,
    split_data_directory,
    write_data_directory,
)
from ia3_speech.data.kaldi.validation import fix_data_directory

__all__ = [
    "DataDirectory",
    "fix_data_directory",
    "read_data_directory",
    "split_data_directory",
    "write_data_directory",
]
