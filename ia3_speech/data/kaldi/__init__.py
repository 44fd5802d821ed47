"""Kaldi data directories: read, write, validate, fix, subset, split and compare them.

    ia3-speech datadir validate|fix|subset|split|overlap …

`directory` reads and writes whole directories, `table_file` one text file; `validation` holds the rules,
`repair` the command fix, `selection` subsets and splits, `overlap` the common part of sets.
"""

from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.kaldi.repair import fix_data_directory
from ia3_speech.data.kaldi.selection import split_data_directory, subset_data_directory

__all__ = [
    "DataDirectory",
    "fix_data_directory",
    "read_data_directory",
    "split_data_directory",
    "subset_data_directory",
    "write_data_directory",
]
