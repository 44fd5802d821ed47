"""streaming: final texts are those of the same cuts offline, in bounded memory and with bounded work."""

from dataclasses import replace
from itertools import cycle, pairwise

import numpy as np
import pytest
from tiny_models import PIECE_TOKENIZERS, TINY, tiny, tiny_processor

from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding.beam_search import BeamSearch
from ia3_speech.decoding.long_recordings import cut_at_pauses
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.live.streaming import (
    CONTEXT_SECONDS,
    PARTIAL_SECONDS,
    PORTION,
    RIGHT_SECONDS,
    StreamEvent,
    StreamingRecognizer,
)
from ia3_speech.model.base import make_base

NEVER = float("inf")


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise with four syllables a second and a floor 14 dB below."""
    size = round(seconds * SAMPLE_RATE)
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(size) / SAMPLE_RATE)
    return (np.random.default_rng(seed).normal(0, 0.1, size) * syllables).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    size = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(9).normal(0, 1e-4, size).astype(np.float32)


def run(stream: StreamingRecognizer, wave: np.ndarray, *sizes: int) -> list[StreamEvent]:
    """Every event of a wave that is fed in portions of these sizes, in turn."""
    events, first = [], 0
    for size in cycle(sizes):
        events += stream.feed(wave[first : first + size])
        first += size
        if first >= len(wave):
            return events + stream.flush()


def finals(events: list[StreamEvent]) -> list[StreamEvent]:
    return [event for event in events if event.final]


@pytest.fixture
def recognizer(tiny_base) -> Recognizer:
    return Recognizer(tiny_base(), max_seconds=4.0)


@pytest.mark.parametrize("beam", [False, True])
def test_real_speech_in_portions_of_any_size_is_the_offline_text(shared_data, tiny_base, beam):
    recognizer = Recognizer(tiny_base(), max_seconds=6.0)
    if beam:
        recognizer = replace(recognizer, search=BeamSearch(recognizer.base.vocabulary, beam_size=5))
    files = sorted((shared_data / "librispeech_237").rglob("*.flac"))[:2]
    files += sorted((shared_data / "minds14/train").rglob("*.ogg"))[:2]
    wave = np.concatenate([load_audio(file) for file in files])
    several = [StreamingRecognizer(recognizer, partial_seconds=seconds) for seconds in (0.5, 2.0, None)]
    result = [run(item, wave, *np.random.default_rng(0).integers(0, 16_000, 50)) for item in several]
    spans = [(round(e.start * SAMPLE_RATE), round(e.end * SAMPLE_RATE)) for e in finals(result[0])]
    offline = recognizer.texts([wave[first:end] for first, end in spans])
    assert [event.text for event in finals(result[0])] == offline
    assert len(offline) > 4 and sum(map(bool, offline)) > 3
    assert finals(result[0]) == finals(result[1]) == finals(result[2]) == result[2]
    assert sum(not event.final for event in result[0]) > sum(not event.final for event in result[1]) > 0


@pytest.mark.parametrize(("longest", "seconds"), [(1.003, 23.7), (4.0, 4.3), (4.0, 0.9), (9.5, 23.7)])
def test_speech_without_a_pause_is_cut_as_a_recording_is(recognizer, longest, seconds):
    recognizer = replace(recognizer, max_seconds=longest)
    wave = babble(seconds)
    stream = StreamingRecognizer(recognizer, pause_seconds=NEVER, partial_seconds=None)
    events = run(stream, wave, 701, 3000, 40_000)
    cuts = [(round(e.start * SAMPLE_RATE), round(e.end * SAMPLE_RATE)) for e in events]
    assert cuts == cut_at_pauses(wave, longest)
    assert " ".join(event.text for event in events if event.text) == recognizer.texts([wave])[0]


def test_pieces_end_in_pauses_and_hold_the_speech(recognizer):
    parts = [silence(1.2), babble(2, 1), silence(0.9), babble(1.3, 2), silence(0.3), babble(1, 3), silence(3)]
    events = run(StreamingRecognizer(recognizer), np.concatenate([*parts, babble(0.8, 4)]), 1000)
    spans = [(event.start, event.end) for event in finals(events)]
    assert len(spans) == 3  # 0.3 s are no pause
    for (start, end), (first, last) in zip(spans, [(1.2, 3.2), (4.1, 6.7), (9.7, 10.5)], strict=True):
        assert first - 0.51 <= start < first and (last + 0.25 <= end <= last + 0.35 or end == last)
    assert all(a.end <= b.start for a, b in pairwise(finals(events)))


def test_a_partial_text_at_most_every_half_second_and_one_a_portion(recognizer):
    events = run(StreamingRecognizer(recognizer), babble(3.9), 160)
    partials = [event.end for event in events if not event.final]
    assert len(partials) > 4 and min(b - a for a, b in pairwise(partials)) >= 0.5
    stream = StreamingRecognizer(recognizer)
    assert [event.final for event in stream.feed(babble(3.9))] == [False]
    assert [event.final for event in stream.feed(babble(0.4))] in ([False], [])


@pytest.mark.parametrize("name", ["wav2vec2", "hubert-stable", "bert", "parakeet"])
def test_stored_logits_line_up_with_new_logits(processor, name):
    """Of any architecture: as many frames as the piece has so far, and the final text is the offline one."""
    tokenizer = PIECE_TOKENIZERS[name]() if name in PIECE_TOKENIZERS else processor.tokenizer
    base = make_base(tiny(name), tiny_processor(name, tokenizer), name)
    assert name in TINY
    recognizer = Recognizer(base, max_seconds=8.0)
    stream, wave = StreamingRecognizer(recognizer), babble(7)
    for first in range(0, len(wave), 3000):
        stream.feed(wave[first : first + 3000])
        if stream.speaking:
            expected = base.frames(stream.end - stream.first)
            assert abs(len(stream.current_logits()) - expected) <= base.frame_multiple
    events = stream.flush()
    assert [event.text for event in events] == recognizer.texts([wave])


def test_memory_and_work_are_bounded(recognizer, monkeypatch):
    """Ninety seconds without a pause, then silence, at a portion every 0.1 s."""
    computed, logits = [], Recognizer.logits

    def counted(self, waves, *names):
        computed.append(sum(map(len, waves)))
        return logits(self, waves, *names)

    monkeypatch.setattr(Recognizer, "logits", counted)
    stream = StreamingRecognizer(recognizer)
    wave = np.concatenate([babble(60), silence(30)])
    stored, by_second = [], []
    for first in range(0, len(wave), 1600):
        before = sum(computed)
        stream.feed(wave[first : first + 1600])
        by_second.append(sum(computed) - before)
        stored.append(len(stream.wave))
        if stream.kept is not None:
            assert len(stream.kept) <= recognizer.base.frames(stream.enough)
    assert max(stored) <= stream.enough + PORTION
    assert max(stored[-200:]) <= SAMPLE_RATE  # of silence half a second is kept
    assert not any(by_second[-200:])
    window = CONTEXT_SECONDS + RIGHT_SECONDS + PARTIAL_SECONDS + 0.2
    assert max(computed) <= max(window, recognizer.max_seconds) * SAMPLE_RATE
    assert sum(computed) <= (window / PARTIAL_SECONDS + 1) * 61 * SAMPLE_RATE
