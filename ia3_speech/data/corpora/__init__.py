"""Prepare corpora as Kaldi data directories: a module for each published corpus, or for your recordings.

    python -m ia3_speech.data.corpora.speechocean762 CORPUS DATA_DIR
    python -m ia3_speech.data.corpora.csv_folder FOLDER DATA_DIR
    python -m ia3_speech.data.corpora.kaldi FOLDER DATA_DIR
    python -m ia3_speech.data.corpora.out_of_domain CORPORA DATA_DIR/out_of_domain

Each module begins with the corpus card (content, hours, licence, citation) and the layout that it reads; its
function `prepare` writes DATA_DIR/{train,dev,test}. `preparation` is shared.
"""
