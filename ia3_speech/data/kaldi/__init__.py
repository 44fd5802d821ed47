"""Kaldi data directories: read, write, validate, fix, subset, split, and make one of a Hugging Face dataset.

    python -m ia3_speech.datadir validate|fix|subset|split|from-dataset …

`directory` holds the objects, `tables` one text file, `validation` the rules, `repair` what fix does,
`selection` subsets and splits, `dataset` the way in from Hugging Face.
"""

from ia3_speech.data.huggingface import from_dataset
from ia3_speech.data.kaldi.directory import DataDir, Utterance, read, validate, write
from ia3_speech.data.kaldi.repair import fix
from ia3_speech.data.kaldi.selection import split, subset
from ia3_speech.data.kaldi.table_file import DataError

__all__ = [
    "DataDir",
    "DataError",
    "Utterance",
    "fix",
    "from_dataset",
    "read",
    "split",
    "subset",
    "validate",
    "write",
]
