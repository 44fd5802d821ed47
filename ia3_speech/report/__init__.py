"""One HTML page that compares two systems on a test set: error rates, utterances, training, adapter vectors.

    ia3-speech report data/test DECODE_DIR [--baseline DECODE_DIR2] [--out report.html]

In: a scored decode directory, and files beside it. Out: one page, which opens anywhere, without a network
and without a library, and a folder of its tables. It computes no error rates but those of single words: it
shows the numbers that score, train and the recipes wrote.

`report_data` finds and reads the files, `experiments.curve_files` those of curves; `page` puts the sections
together: `summary`, `result_tables`, `word_accuracy` and `utterance_table` (each a `browsable_table`, which
page.js draws), `confidence_charts`, `label_bars`, `curve_charts` and `vector_plots`. `table` is HTML, CSV or
Markdown; `table_files` writes all tables. `markup` escapes text, `svg` and `charts` draw, `audio_players`
finds what players play.
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
