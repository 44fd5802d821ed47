"""Hot words: collect the forms in which terms are recognised, and check a hot-word file.

    ia3-speech decode data/train exp/train_decode
    ia3-speech hotwords learn data/train exp/train_decode --terms terms.txt --out clinic.hotwords
    ia3-speech hotwords check clinic.hotwords --base mini
    ia3-speech transcribe --hotwords clinic.hotwords audio.wav

A hot-word file has one term per line; after TABs perhaps a weight, and the forms in which the term is heard.
`learn` finds such forms: texts that a system writes for a spoken term, but seldom elsewhere.
"""

import sys
from pathlib import Path

from ia3_speech.common.atomic import write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.kaldi.table_file import read_kaldi_text, read_utf8
from ia3_speech.scoring.error_rates import normalized_words

SENTENCES_HINT = "--text takes text files with a sentence on each line"


def learn(data: Path, decode_dir: Path, *, terms: Path, out: Path, text: list[Path] | None = None) -> None:
    """Write a hot-word file with the forms in which terms are recognised in a decode directory.

    Args:
        data: data directory with text, whose audio was decoded into DECODE_DIR; not a test set.
        decode_dir: decode directory, which holds the hypotheses in `text`.
        terms: a hot-word file, or one term per line; its weights and forms are copied.
        out: the hot-word file to write.
        text: files of ordinary sentences, one per line, in which false alarms are counted.
    """
    from ia3_speech.decoding.hotword_learning import format_learned, learn_forms
    from ia3_speech.decoding.hotword_search import COMMENT, read_hotwords

    sentences = [line for file in text or [] for line in read_utf8(file, SENTENCES_HINT).splitlines()]
    ordinary = (normalized_words(line, "ctc") for line in sentences)
    learned = learn_forms(read_hotwords(terms), read_word_pairs(data, decode_dir), ordinary)
    if not learned.spoken:
        print(f"{data}: none of the terms of {terms} is spoken there, so no form is learned", file=sys.stderr)
    lines = [f"{COMMENT}forms learned from {data} and {decode_dir}", *(term.row() for term in learned.terms)]
    write_text(out, "".join(f"{line}\n" for line in lines))
    print(format_learned(learned))
    print(f"{out}: {plural(len(learned.terms), 'term')}")


def read_word_pairs(data: Path, decode_dir: Path) -> list[tuple[list[str], list[str]]]:
    """(reference, hypothesis) of each utterance as words, normalised as `score` normalises them."""
    hypotheses, pairs = read_kaldi_text(decode_dir / "text"), []
    for utterance in read_data_directory(data, wav=False, spk_sort=False):
        if utterance.id not in hypotheses:
            raise UserError(f"{decode_dir / 'text'}: has no utterance {utterance.id} of {data}")
        reference, hypothesis = utterance.text or "", hypotheses[utterance.id]
        pairs.append((normalized_words(reference, "ctc"), normalized_words(hypothesis, "ctc")))
    return pairs


def check(file: Path, base: str = "mini") -> None:
    """Check that a base can write the terms of a hot-word file.

    Args:
        file: a hot-word file.
        base: mini, a folder or a hub id.
    """
    from ia3_speech.decoding.hotword_search import read_hotwords, spellings
    from ia3_speech.model.base import load_base

    hotwords = read_hotwords(file)
    count = len(spellings(hotwords, load_base(base).vocabulary, 1.0))
    forms = sum(len(term.heard_as) for term in hotwords)
    print(
        f"{file}: {plural(len(hotwords), 'term')}, {plural(forms, 'heard-as form')}, "
        f"{plural(count, 'spelling')}; {base} can write them"
    )


SUB_COMMANDS = {"learn": learn, "check": check}
