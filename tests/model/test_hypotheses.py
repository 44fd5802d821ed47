"""search: the best path, collapsed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.text import Vocabulary
from ia3_speech.model.hypotheses import GreedySearch, TimedWord, collapse

SYMBOLS = ["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
BLANK = 0


@pytest.fixture(scope="module")
def vocabulary(processor) -> Vocabulary:
    return Vocabulary.from_tokenizer(processor.tokenizer)


def logits_of(text: str, width: int = len(SYMBOLS)) -> np.ndarray:
    """Logits (frames, width) whose best path is `text`, a symbol each frame; `-` is the blank."""
    noise = np.random.default_rng(0).uniform(-1, 0, (len(text), width)).astype(np.float32)
    noise[np.arange(len(text)), [BLANK if c == "-" else SYMBOLS.index(c) for c in text]] = 1.0
    return noise


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ("hheel-lo", "hello"),
        ("hello", "helo"),
        ("-----", ""),
        ("", ""),
        ("|a||b|-|c|", "a b c"),  # delimiters at the ends, doubled, and with a blank between: one space
        ("-don't", "don't"),
    ],
)
def test_greedy(vocabulary, frames, text):
    logits = logits_of(frames).reshape(len(frames), len(SYMBOLS))
    assert GreedySearch(vocabulary)(logits).text == text
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert GreedySearch(vocabulary)(torch.from_numpy(logits).to(dtype)).text == text


def test_words_have_the_frames_of_their_symbols(vocabulary):
    hypothesis = GreedySearch(vocabulary)(logits_of("-hi-||oh"))
    assert hypothesis.words == (TimedWord("hi", 1, 2), TimedWord("oh", 6, 7)) and hypothesis.text == "hi oh"


@given(st.lists(st.integers(1, 4), max_size=12), st.data())
def test_every_alignment_of_a_label_sequence_collapses_to_it(labels, data):
    """CTC's many-to-one map B: repeat any symbol, put blanks anywhere, between equal neighbours always."""
    path = [BLANK] * data.draw(st.integers(0, 2))
    for number, label in enumerate(labels):
        forced = int(number > 0 and labels[number - 1] == label)
        path += [BLANK] * data.draw(st.integers(forced, 2)) + [label] * data.draw(st.integers(1, 3))
    assert collapse(path + [BLANK] * data.draw(st.integers(0, 2)), BLANK) == labels


def test_symbols_beyond_the_vocabulary_say_nothing_and_the_blank_is_the_vocabulary_s(vocabulary):
    logits = logits_of("a-b", width=64)
    logits[1, 63] = 2.0
    assert GreedySearch(vocabulary)(logits).text == "ab"
    shifted = Vocabulary({"a": 0, "b": 1, "|": 2, "<pad>": 3}, blank=3, delimiter="|")
    logits = np.eye(4, dtype=np.float32)[[0, 3, 0, 2, 1, 1, 3]]
    assert GreedySearch(shifted)(logits).text == "aa b"
