"""Word times: against espeak-ng's own, against hand-made logits, and for any text."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.segments import PAUSE_SECONDS, SEGMENT_SECONDS, make_segments
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.word_times import Scaling, word_times
from ia3_speech.model.hypotheses import Hypothesis, TimedWord
from ia3_speech.session import load

VOCABULARY = Vocabulary({"<pad>": 0, "|": 1, "a": 2, "b": 3, "'": 4}, blank=0, special=frozenset({"<pad>"}))


def logits_of(path: str) -> torch.Tensor:
    """(frames, 5) that are high for the symbols of `path`, a character a frame, `_` for the blank."""
    columns = ["_|ab'".index(symbol) for symbol in path]
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(columns), 5).float()


def times_of(logits: torch.Tensor, text: str, **options) -> list[Word]:
    """Those of a text whose words the search gives no confidence."""
    hypothesis = Hypothesis(tuple(TimedWord(word, 0, 0) for word in text.split()))
    return word_times(logits, hypothesis, VOCABULARY, 0.02, **options)


def test_a_word_begins_a_frame_before_its_symbols_and_ends_two_after_them():
    words = times_of(logits_of("___ab____|_bb_______"), "ab b")
    assert [(w.text, round(w.start, 2), round(w.end, 2)) for w in words] == [
        ("ab", 0.04, 0.14), ("b", 0.2, 0.3),
    ]  # fmt: skip
    assert [w.tokens for w in words] == [(2, 3), (3,)] and all(0.99 < w.confidence < 1 for w in words)


def test_confidence_is_the_product_of_the_symbols_peaks_and_the_delimiters():
    logits = torch.zeros(7, 5)
    logits[[0, 1, 2, 3, 4, 5, 6], [0, 2, 2, 1, 3, 0, 0]] = torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0])
    peaks = logits.softmax(-1)
    a, b = times_of(logits, "a b")
    assert a.confidence == pytest.approx(float(peaks[2, 2] * peaks[3, 1]))
    assert b.confidence == pytest.approx(float(peaks[4, 3] * peaks[3, 1]))
    scaled = times_of(logits, "a b", scaling=Scaling(slope=0.5, bias=1.0))
    odds = [w.confidence / (1 - w.confidence) for w in (a, b)]
    assert [w.confidence / (1 - w.confidence) for w in scaled] == pytest.approx(
        [np.e * one**0.5 for one in odds]
    )
    assert [(w.start, w.end) for w in scaled] == [(w.start, w.end) for w in (a, b)]


def test_a_word_keeps_the_confidence_and_the_frames_that_a_search_gives_it():
    """A hot word that is not written as it sounds; its neighbours are aligned on either side of it."""
    logits = logits_of("___ab__|bab_ab|__b__")
    spotted = TimedWord("B12 500", 8, 13, 0.8)
    hypothesis = Hypothesis((TimedWord("ab", 3, 4), spotted, TimedWord("b", 17, 17)))
    words = word_times(logits, hypothesis, VOCABULARY, 0.02, scaling=Scaling(0.5))
    assert [word.text for word in words] == ["ab", "B12", "500", "b"]
    assert [word.confidence for word in words[1:3]] == [0.8, 0.8] and 0.9 < words[0].confidence < 0.99
    assert [(round(w.start, 3), round(w.end, 3)) for w in words] == [
        (0.04, 0.14), (0.14, 0.23), (0.23, 0.32), (0.32, 0.4),
    ]  # fmt: skip


@settings(max_examples=60)
@example("a x a", 16, 0)  # a word that cannot be written, where its neighbours are two frames apart
@given(st.text("ab' x", max_size=24), st.integers(1, 60), st.integers(0, 99))
def test_any_text_gets_its_words_in_order_within_the_piece(text, frames, seed):
    logits = torch.randn(frames, 5, generator=torch.Generator().manual_seed(seed))
    words = times_of(logits, text)
    assert [word.text for word in words] == text.split()
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges) and all(-1e-9 <= edge <= frames * 0.02 + 1e-9 for edge in edges)
    assert all(0 <= word.confidence <= 1 for word in words)


def spoken():
    """A wave of three sentences by espeak-ng between pauses, and the start of each of its words."""
    pytest.importorskip("espeakng_loader")
    from scripts.espeak import ESPEAK_SAMPLE_RATE, Espeak

    espeak, parts, starts, seconds = Espeak(), [], [], 0.0
    sentences = (
        "the patient was seen in the clinic this morning", "please take two tablets after every meal",
        "we walked along the river until the sun went down",
    )  # fmt: skip
    for sentence in sentences:
        wave = resample(espeak.speak(sentence, "en-us", 150), ESPEAK_SAMPLE_RATE, SAMPLE_RATE)
        wave = np.pad(wave * (0.6 / np.abs(wave).max()), (SAMPLE_RATE // 2, SAMPLE_RATE))
        starts += [(sentence[a:b], seconds + 0.5 + at) for a, b, at in espeak.words]
        parts.append(wave.astype(np.float32))
        seconds += len(wave) / SAMPLE_RATE
    return np.concatenate(parts), starts


def test_starts_are_those_that_espeak_knows(base_folder):
    """Median error of at most 40 ms, in one piece and across the cuts of a long recording."""
    wave, starts = spoken()
    for max_seconds, vad in ((30.0, "off"), (5.0, "energy")):
        options = LoadOptions(max_seconds=max_seconds, vad=vad)
        recognizer = load(base_folder, search="greedy", options=options).recognizer
        words = recognizer.recognize([wave], with_words=True)[0].words
        distances = [[abs(word.start - at) for word in words if word.text == text] for text, at in starts]
        errors = [min(distance) for distance in distances if distance]
        assert len(errors) > len(starts) / 2
        assert np.median(errors) <= 0.04, (max_seconds, vad)
        assert (len(recognizer.cut(wave)) > 1) == (max_seconds < 30)
        assert len(list(make_segments(words))) == 3
        assert (*recognizer.stream(wave),) == words


@st.composite
def timed_words(draw) -> list[Word]:
    words, now = [], 0.0
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.59, 0.7, 3.0]))
        end = now + draw(st.sampled_from([0.02, 0.3, 1.0, 9.0]))
        words.append(Word("w", now, end, 0.5))
        now = end
    return words


@settings(max_examples=60)
@given(timed_words())
def test_segments_keep_all_words_and_end_at_pauses(words):
    segments = list(make_segments(iter(words)))
    assert [word for segment in segments for word in segment.words] == words
    for segment in segments:
        assert segment.end - segment.start <= SEGMENT_SECONDS + 1e-9 or len(segment.words) == 1
        for one, other in zip(segment.words, segment.words[1:], strict=False):
            assert other.start - one.end < PAUSE_SECONDS
