"""Kaldi data directories (`ia3-speech datadir`)."""

from ia3_speech.data.kaldi.directory import DataDirectory as DataDirectory
from ia3_speech.data.kaldi.directory import read_data_directory as read_data_directory
from ia3_speech.data.kaldi.directory import split_data_directory as split_data_directory
from ia3_speech.data.kaldi.directory import write_data_directory as write_data_directory
from ia3_speech.data.kaldi.validation import fix_data_directory as fix_data_directory
