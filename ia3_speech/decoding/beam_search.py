"""Beam search over CTC logits with an n-gram language model.

    search = BeamSearch(base.vocabulary, lm=Path("general.arpa.gz"))
    text = search(logits)                          # (frames, vocabulary)

In: logits of one utterance. Out: its words: those that maximise log p_CTC(text | audio) + lm_weight · ln
p_LM(text) + word_score · words (Graves and Jaitly 2014; Hannun et al. 2014, arXiv 1408.2873). The engine is
the package ctc-beam-decoder, which follows pyctcdecode; it writes characters or word pieces, and words that
the model does not know at a price, `unknown_word_score`.
"""

import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.text import WORD_START, SubwordVocabulary, Vocabulary
from ia3_speech.decoding.ctc_search import NAN, SearchError, TimedWord
from ia3_speech.lm.arpa import words_of
from ia3_speech.lm.ngram import LanguageModelError

if TYPE_CHECKING:
    from torch import Tensor

LM_WEIGHT, WORD_SCORE, UNKNOWN_WORD_SCORE, BEAM_SIZE = 0.5, 1.5, -10.0, 50


@dataclass
class BeamSearch:
    """CTC prefix beam search.

    Attributes:
        vocabulary: of the base.
        lm: a model in ARPA format (perhaps .gz) or KenLM's binary format; None: no language model.
        lm_weight: weight of the language model's natural logarithm.
        word_score: added for each word; positive values make up for the model's preference for few words.
        unknown_word_score: added for each word that the model does not know.
        beam_size: hypotheses kept after each frame.
    """

    vocabulary: Vocabulary
    lm: Path | None = None
    lm_weight: float = LM_WEIGHT
    word_score: float = WORD_SCORE
    unknown_word_score: float = UNKNOWN_WORD_SCORE
    beam_size: int = BEAM_SIZE
    columns: np.ndarray = field(
        init=False, repr=False
    )  # of the logits: those that write something, the blank first

    def __post_init__(self) -> None:
        import ctc_beam_decoder

        labels = labels_of(self.vocabulary)
        self.columns = np.array(list(labels))
        texts = list(labels.values())
        if self.lm is None:
            self.decoder = ctc_beam_decoder.BeamSearchDecoder(texts, beta=self.word_score)
            return
        words = words_of(self.lm)
        try:
            with quiet_standard_error:
                self.decoder = ctc_beam_decoder.BeamSearchDecoder(
                    texts,
                    kenlm_model_path=self.lm,
                    unigrams=words,
                    alpha=self.lm_weight,
                    beta=self.word_score,
                    unk_score_offset=self.unknown_word_score,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise LanguageModelError(f"{self.lm}: cannot be used as a language model: {error}") from error

    def __reduce__(self) -> tuple:
        """Pickled as its fields: the decoder is made again, from the same file."""
        given = (getattr(self, one.name) for one in fields(self) if one.init)
        return type(self), tuple(given)

    def __call__(self, logits: "Tensor | np.ndarray") -> str:
        """The text of (frames, vocabulary) logits of any float type; no frames: "".

        Raises:
            SearchError: the logits hold a NaN.
        """
        return " ".join(word.text for word in self.words(logits))

    def words(self, logits: "Tensor | np.ndarray") -> list[TimedWord]:
        """The words of (frames, vocabulary) logits, each with its frames.

        Raises:
            SearchError: the logits hold a NaN.
        """
        if not len(logits):
            return []
        values = np.asarray(logits, dtype=np.float32)
        if np.isnan(values).any():
            raise SearchError(NAN)
        values = values[:, self.columns]
        values = values - values.max(axis=1, keepdims=True)
        log_probabilities = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        beams = self.decoder.decode_beams(log_probabilities, beam_width=self.beam_size)
        return [TimedWord(text, first, end - 1) for text, (first, end) in beams[0][2]]


def labels_of(vocabulary: Vocabulary) -> dict[int, str]:
    """Column of the logits → what it writes, in pyctcdecode's terms: "" for the blank, " " between words.

    Special tokens write nothing and are left out; text is lower case, as the language models are, unless the
    base tells capitals from small letters.
    """
    subwords = isinstance(vocabulary, SubwordVocabulary)
    labels = {vocabulary.blank: ""}
    for token, column in sorted(vocabulary.tokens.items(), key=lambda item: item[1]):
        if column == vocabulary.blank or token in vocabulary.special:
            continue
        text = " " if token == vocabulary.delimiter and not subwords else token
        labels[column] = text if vocabulary.cased == "mixed" else text.lower()
    if subwords and not any(text.startswith(WORD_START) for text in labels.values()):
        raise LanguageModelError(
            f"this base's word pieces do not mark where words begin ({WORD_START}): take --search greedy (in "
            f"recipes --lm none)"
        )
    return labels


class QuietStandardError:
    """A context in which the process's standard error leads nowhere: KenLM draws a progress bar of its own
    there while it reads a model. Threads may be inside at the same time."""

    def __init__(self) -> None:
        self.lock, self.inside, self.kept = Lock(), 0, -1

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                sys.stderr.flush()
                self.kept = os.dup(2)
                with Path(os.devnull).open("w") as nowhere:
                    os.dup2(nowhere.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                os.dup2(self.kept, 2)
                os.close(self.kept)


quiet_standard_error = QuietStandardError()
