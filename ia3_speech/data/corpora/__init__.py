"""Prepare corpora as Kaldi data directories: your recordings, and what several recipes share.

    python -m ia3_speech.data.corpora.csv_folder FOLDER DATA_DIR
    python -m ia3_speech.data.corpora.kaldi FOLDER DATA_DIR

The function `prepare` of a module writes DATA_DIR/{train,dev,test}. Other corpora are prepared in their
folders in egs/. `preparation` is shared.
"""
