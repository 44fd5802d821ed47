"""Beam search over CTC logits with an n-gram language model.

    search = BeamSearch(base.vocabulary, lm=Path("general.arpa.gz"))
    search(logits).text                            # (frames, vocabulary) of one utterance

In: logits. Out: the words that maximise log p_CTC(text | audio) + lm_weight · ln p_LM(text) +
word_score · words (Graves and Jaitly 2014; Hannun et al. 2014, arXiv 1408.2873); without a language model,
only the first term. The engine is the package ctc-beam-decoder, which follows pyctcdecode; it writes
characters or word pieces, and adds `unknown_word_score` for words that the language model lacks.
"""

import gzip
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from ia3_speech.common.errors import SearchError, UserError
from ia3_speech.data.text import WORD_START, Vocabulary
from ia3_speech.model.hypotheses import NAN, Hypothesis, Logits, TimedWord

NO_WORDS = ("<unk>", "<s>", "</s>")  # of a language model: unknown words, and the ends of a sentence
MAX_TEXTS = 20  # of an utterance that a hypothesis holds
READING = Lock()  # held while a model is read and standard error is discarded


@dataclass
class BeamSearch:
    """A beam search of CTC logits. Raises UserError if the language model cannot be used."""

    vocabulary: Vocabulary  # of the base
    # A model in ARPA format (perhaps .gz) or KenLM's binary format; None: no language model
    lm: Path | None = None
    lm_weight: float = 0.5  # weight of the language model's natural logarithm
    # Added for each word; positive values offset the model's preference for few words
    word_score: float = 1.5
    unknown_word_score: float = -10.0  # added for each word that the model does not know
    beam_size: int = 50  # hypotheses that remain after each frame

    def __post_init__(self) -> None:
        import ctc_beam_decoder

        labels = labels_of(self.vocabulary)
        self.columns = np.array(list(labels))  # columns of the logits in use, the blank first
        texts = list(labels.values())
        if self.lm is None:
            self.decoder = ctc_beam_decoder.BeamSearchDecoder(texts)
            return
        words = words_of(self.lm)
        try:
            with no_progress_bar():
                self.decoder = ctc_beam_decoder.BeamSearchDecoder(
                    texts,
                    kenlm_model_path=self.lm,
                    unigrams=words,
                    alpha=self.lm_weight,
                    beta=self.word_score,
                    unk_score_offset=self.unknown_word_score,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.lm}: cannot be used as a language model: {error}") from error

    def __call__(self, logits: Logits) -> Hypothesis:
        """See `hypotheses.Search`."""
        if not len(logits):
            return Hypothesis()
        values = np.asarray(logits, dtype=np.float32)
        if np.isnan(values).any():
            raise SearchError(NAN)
        values = values[:, self.columns]
        values = values - values.max(axis=1, keepdims=True)
        log_probabilities = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        beams = self.decoder.decode_beams(log_probabilities, beam_width=self.beam_size)
        _, _, words, acoustic_score, score = beams[0]
        lm_score = None if self.lm is None else score - acoustic_score
        others = tuple((text, other - score) for text, *_, other in beams[1:MAX_TEXTS])
        timed = tuple(TimedWord(text, first, end - 1) for text, (first, end) in words)
        return Hypothesis(timed, lm_score, others)


def labels_of(vocabulary: Vocabulary) -> dict[int, str]:
    """Column of the logits → its text, in pyctcdecode's terms: "" for the blank, " " between words.

    Special tokens write nothing and are left out; text is lower case, as in the language models, unless the
    base distinguishes capitals from small letters.
    """
    labels = {vocabulary.blank: ""}
    for token, column in sorted(vocabulary.tokens.items(), key=lambda item: item[1]):
        if column == vocabulary.blank or token in vocabulary.special:
            continue
        text = " " if column == vocabulary.delimiter_id else token
        labels[column] = text if vocabulary.cased == "mixed" else text.lower()
    if vocabulary.writes_pieces and not vocabulary.boundaries & labels.keys():
        raise UserError(
            f"this base's word pieces do not mark the beginnings of words ({WORD_START}): take "
            f"`search=greedy` (in recipes --lm none)"
        )
    return labels


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Discard standard error, on which KenLM draws a progress bar while it reads a model."""
    with READING, Path(os.devnull).open("w") as nowhere:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def words_of(lm: Path) -> list[str]:
    """The words of a language model: the unigrams of an ARPA file, or the strings of a KenLM binary. Raises
    UserError if it is neither, or a binary without its words."""
    try:
        with lm.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"mmap lm "):
            data = lm.read_bytes()  # KenLM writes the words after the tables, <unk> first, a zero after each
            start = data.rfind(b"\0<unk>\0")
            if start < 0:
                raise UserError(f"{lm}: contains no words (KenLM's build_binary includes them by default)")
            words = data[start + 1 :].rstrip(b"\0").split(b"\0")
        else:
            with gzip.open(lm) if head.startswith(b"\x1f\x8b") else lm.open("rb") as lines:
                words = list(arpa_words(lines))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{lm}: cannot be read: {error}") from error
    texts = [word.decode("utf-8", errors="replace") for word in words]
    if not texts:
        raise UserError(f"{lm}: is neither an ARPA file nor a KenLM binary")
    return [text for text in texts if text not in NO_WORDS]


def arpa_words(lines: Iterable[bytes]) -> Iterator[bytes]:
    inside = False
    for line in lines:
        if line.startswith(b"\\1-grams:"):
            inside = True
        elif inside and line.startswith(b"\\"):
            return
        elif inside and line.strip():
            yield from line.split()[1:2]
