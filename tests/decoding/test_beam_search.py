"""Beam search: against all alignments of short utterances, with language models, for all vocabularies."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import PIECE_TOKENIZERS

from ia3_speech.common.errors import UserError
from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.beam_search import BeamSearch, words_of
from ia3_speech.decoding.word_times import word_times
from ia3_speech.lm.arpa import write_arpa
from ia3_speech.lm.ngram import estimate
from ia3_speech.model.hypotheses import GreedySearch, Hypothesis, TimedWord, collapse

TOKENS = {"<pad>": 0, "|": 1, "a": 2, "b": 3}
LETTERS = Vocabulary(TOKENS, 0, "|", "lower", frozenset({"<pad>"}))


def text_of(search: BeamSearch, logits) -> str:
    assert search(logits[:0]).words == ()
    return search(torch.as_tensor(logits)).text


def best_of_all(logits: np.ndarray, vocabulary: Vocabulary) -> str:
    """The text whose alignments have the largest sum: every path is visited."""
    p = torch.from_numpy(logits).softmax(-1).numpy()
    sums: dict[str, float] = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        text = vocabulary.decode(collapse(list(path), vocabulary.blank))
        sums[text] = sums.get(text, 0.0) + float(np.prod(p[np.arange(len(p)), path]))
    return max(sums, key=sums.get)


@pytest.mark.parametrize("seed", range(12))
def test_it_finds_the_text_with_the_most_probable_alignments(seed):
    """Without a language model: what an exhaustive sum finds."""
    logits = (2 * np.random.default_rng(seed).standard_normal((5, 4))).astype(np.float32)
    search = BeamSearch(LETTERS, beam_size=500)
    assert text_of(search, logits) == best_of_all(logits, LETTERS)


def frames_of(text: str, vocabulary: Vocabulary, sure: float = 6.0) -> np.ndarray:
    """Logits that spell `text`, a frame and a blank each."""
    ids = [token for number in vocabulary.encode(text) for token in (number, vocabulary.blank)]
    logits = np.zeros((len(ids), max(vocabulary.tokens.values()) + 1), np.float32)
    logits[np.arange(len(ids)), ids] = sure
    return logits


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa.gz"
    write_arpa(estimate([["ab", "ba"], ["ab", "a"], ["b", "ab", "ba"]], 2), path)
    return path


def test_the_language_model_decides_between_like_sounds(lm):
    """The frame in which a and b sound alike: the model knows "ab ba" and not "aa ba"."""
    logits = frames_of("ab ba", LETTERS)
    logits[2] = [0, 0, 6.1, 6]  # a is likelier by a hair, and would be heard as a repeat of nothing: "aa"
    assert GreedySearch(LETTERS)(logits).text == "aa ba"
    assert text_of(BeamSearch(LETTERS, lm), logits) == "ab ba"
    assert text_of(BeamSearch(LETTERS, lm, lm_weight=0.0, unknown_word_score=0.0), logits) == "aa ba"


def test_a_padded_head_special_tokens_and_capitals(lm):
    """Columns without a symbol and tokens such as <unk> write nothing; capitals become small letters."""
    tokens = {"<s>": 3, "<pad>": 0, "|": 1, "A": 2, "B": 4}
    vocabulary = Vocabulary(tokens, 0, "|", "upper", frozenset({"<pad>", "<s>"}))
    logits = np.pad(frames_of("ab ba", vocabulary), ((0, 0), (0, 3)), constant_values=9.0)
    logits[:, 3] = 9.0
    assert text_of(BeamSearch(vocabulary, lm), logits) == "ab ba"


@pytest.mark.parametrize("kind", PIECE_TOKENIZERS)
def test_word_pieces(kind, tmp_path):
    """The pieces of a word are joined, and the model sees whole words."""
    tokenizer = PIECE_TOKENIZERS[kind]()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    words = ["the", "cat", "sat"]
    write_arpa(estimate([words] * 3, 2), tmp_path / "lm.arpa")
    logits = frames_of(" ".join(words), vocabulary, 8.0)
    assert (
        text_of(BeamSearch(vocabulary, tmp_path / "lm.arpa"), logits) == GreedySearch(vocabulary)(logits).text
    )


def test_the_words_of_a_model(tmp_path, lm):
    assert sorted(words_of(lm)) == ["a", "ab", "b", "ba"]
    (tmp_path / "binary").write_bytes(b"mmap lm http://kheafield.com/code\0tables\0<unk>\0<s>\0</s>\0ab\0b\0")
    assert words_of(tmp_path / "binary") == ["ab", "b"]
    (tmp_path / "no.arpa").write_text("hello\n")
    with pytest.raises(UserError, match="neither an ARPA file nor a KenLM binary"):
        words_of(tmp_path / "no.arpa")
    with pytest.raises(UserError, match="cannot be read"):
        BeamSearch(LETTERS, tmp_path / "missing.arpa")


def test_unsure_words_have_the_likeliest_alternatives():
    logits = frames_of("ab ba", LETTERS)
    logits[2] = [0, 0, 6.1, 6]
    logits[8] = [0, 0, 5, 6.5]
    hypothesis = BeamSearch(LETTERS)(logits)
    assert hypothesis.text == "aa bb" and hypothesis.others[0] == ("ab bb", pytest.approx(-0.1, abs=0.05))
    assert {number: texts[0] for number, texts in hypothesis.alternatives().items()} == {0: "ab", 1: "ba"}
    words = word_times(logits, hypothesis, LETTERS, 0.02)
    assert [word.confidence < 0.6 for word in words] == [True, False]
    assert not Hypothesis((TimedWord("a", 0, 0),), others=(("a b", -1.0), ("", -2.0))).alternatives()
