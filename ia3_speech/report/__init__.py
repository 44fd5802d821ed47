"""One HTML page that compares two systems on a test set: error rates, utterances, training, adapter vectors.

    ia3-speech report data/test DECODE_DIR [--baseline DECODE_DIR2] [--out report.html]

In: a scored decode directory, and files beside it. Out: a page that opens without a network, and a folder of
its tables. `data` finds and reads the files, `page` assembles the sections.
"""
