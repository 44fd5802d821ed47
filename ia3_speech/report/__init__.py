"""One HTML page that compares two systems on a test set: error rates, utterances, training, adapter vectors.

    ia3-speech report data/test DECODE_DIR [--baseline DECODE_DIR2] [--out report.html]

In: a scored decode directory, and files beside it. Out: one page, which opens anywhere, without a network
and without a library, and a folder of its tables. It computes no error rates but those of single words: it
shows the numbers that score, train and the recipes wrote.

`data` finds and reads the files; `tables`, `diagrams` (which `charts` draws) and `browse` (for
page.js) make of them what is shown; `page` puts the sections together, and the templates write them.
"""
