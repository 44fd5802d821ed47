"""ctm files of NIST's sclite, which Kaldi writes and reads: words with times and confidences.

    a 1 0.26 0.22 take 0.98    recording (or utterance), channel, start, duration, word, confidence

Times are in seconds. Definition: https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm.
"""

from pathlib import Path

from ia3_speech.common.errors import UserError
from ia3_speech.decoding.transcript import Word

CONFIDENCES = "hyp.ctm"  # in a decode directory: its words with their confidences
CHANNEL = "1"  # of a recording whose channels are not distinguished


def ctm_line(recording: str, word: Word, channel: str = CHANNEL, digits: int = 2) -> str:
    """A line with its line end. `digits`: decimals of the confidence; times have two."""
    first, last = round(100 * word.start), round(100 * word.end)
    times = f"{first / 100:.2f} {max(1, last - first) / 100:.2f}"
    return f"{recording} {channel} {times} {word.text} {word.confidence:.{digits}f}\n"


def read_words(path: Path) -> dict[str, list[Word]]:
    """{utterance id: its words, in order} of a ctm file of utterances. Raises UserError if the file can't be
    read, or a line lacks a word with a confidence of 0 to 1."""
    from ia3_speech.data.kaldi.table_file import read_utf8  # writers of lines need no data directories

    lines = read_utf8(path, "ia3-speech decode writes it").splitlines()
    words: dict[str, list[Word]] = {}
    for number, line in enumerate(lines, 1):
        try:
            utterance, _, start, duration, word, confidence = line.split(" ")
            entry = Word(word, float(start), float(start) + float(duration), float(confidence))
            is_probability = 0 <= entry.confidence <= 1
        except ValueError:
            is_probability = False
        if not is_probability:
            form = "`utterance channel start duration word confidence`, with a confidence of 0 to 1"
            raise UserError(f"{path}:{number}: is not {form} (ia3-speech decode --force writes it again)")
        words.setdefault(utterance, []).append(entry)
    return words
