"""One HTML page that compares two systems on a test set: error rates, utterances, training, adapter vectors.

    python -m ia3_speech.report data/test DECODE_DIR [--baseline DECODE_DIR2] [--out report.html]

In: a scored decode directory, and files beside it. Out: one file, which opens anywhere, without a network and
without a library. It computes no error rates: it shows the numbers that score, train and the recipes wrote.

`report_data` finds and reads the files, `curve_files` those of curves; `page` puts the sections together:
`result_tables`, `label_bars`, `utterance_table` (drawn by page.js), `curve_charts` and `vector_plots`.
`markup` escapes text, `svg` and `charts` draw, `audio_players` finds what players play.
"""

from ia3_speech.report.audio_players import embedded_audio, linked_audio
from ia3_speech.report.page import make_page
from ia3_speech.report.report_data import ReportData, ReportPaths, find_report_paths, read_report_data

__all__ = [
    "ReportData",
    "ReportPaths",
    "embedded_audio",
    "find_report_paths",
    "linked_audio",
    "make_page",
    "read_report_data",
]
