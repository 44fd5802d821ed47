"""CTC segmentation: words of a long transcript, found in its recording."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from corpus_files import sound_directory
from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding import word_times
from ia3_speech.decoding.word_times import forced_path
from ia3_speech.model.base import load_base
from ia3_speech.training.segmentation import align_recording, segment_recording

PAUSE = np.zeros(SAMPLE_RATE // 4, np.float32)


def random_log_probabilities(frames: int, symbols: int, seed: int) -> torch.Tensor:
    logits = torch.randn(frames, symbols, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.log_softmax(-1)


@settings(max_examples=10)
@given(st.integers(0, 99), st.sampled_from([30, 400]))
def test_windows_of_a_long_recording_give_the_path_of_the_whole(seed, pause):
    """Each token for two frames, then a blank; a pause in the middle, perhaps longer than a window."""
    tokens = np.random.default_rng(seed).integers(1, 5, 400).tolist()
    log_probabilities = random_log_probabilities(1200 + pause, 5, seed).numpy()
    log_probabilities[600 : 600 + pause, 0] += 9
    for n, token in enumerate(tokens):
        first = 3 * n + pause * (n >= 200)
        log_probabilities[first : first + 2, token] += 9
        log_probabilities[first + 2, 0] += 9
    whole = forced_path(log_probabilities, tokens, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_times, "MAX_CELLS", 20_000)
        patch.setattr(word_times, "WINDOW_FRAMES", 300)
        assert np.array_equal(forced_path(log_probabilities, tokens, 0), whole)


@pytest.fixture
def spoken(shared_data) -> list[Utterance]:
    return list(read_data_directory(shared_data / "read_english/dev"))


def test_words_of_concatenated_utterances_fall_into_the_right_segment(spoken, base_folder):
    """Where a word is, the alignment of its own utterance says."""
    base = load_base(str(base_folder))
    parts, centres, words = [], [], []
    for utterance in spoken[:10]:
        wave = load_audio(utterance.source)
        offset = sum(map(len, parts)) / SAMPLE_RATE
        alignment = align_recording(wave, utterance.text, base, 15.0)
        centres += [*(offset + (alignment.starts + alignment.ends) / 2)]
        words += utterance.text.split()
        parts += [wave, PAUSE]
    segments = segment_recording(np.concatenate(parts), " ".join(words), base)
    assert " ".join(item.text for item in segments).split() == words
    assert all(item.end - item.start <= 15.0 for item in segments) and len(segments) < 15
    assert all(a.end <= b.start for a, b in pairwise(segments))
    owners = [item for item in segments for _ in item.text.split()]
    right = [item.start <= centre <= item.end for item, centre in zip(owners, centres, strict=True)]
    assert np.mean(right) >= 0.95


def test_the_command_cuts_drops_and_lists(spoken, base_folder, tmp_path, run_command):
    first, strange, last = spoken[0], spoken[6], spoken[2]
    waves = [load_audio(item.source) for item in (first, strange, last)]
    long = np.concatenate([waves[0], PAUSE, waves[1], PAUSE, waves[2]])
    soundfile.write(tmp_path / "long.wav", long, SAMPLE_RATE)
    soundfile.write(tmp_path / "short.wav", waves[2], SAMPLE_RATE)
    wrong = "zebras quickly jumped over eleven purple umbrellas in seventy seven foggy kitchens of yesterday"
    utterances = [
        Utterance("a-1", "a", "a-1", str(tmp_path / "long.wav"),
                  text=f"{first.text}, {wrong} {last.text.lower()}", labels={"accent": "x"}),
        Utterance("b-1", "b", "b-1", str(tmp_path / "short.wav"), text=last.text, labels={"accent": "y"}),
    ]  # fmt: skip
    write_data_directory(tmp_path / "in", utterances)
    flags = ["--base", base_folder, "--max-seconds", "12"]
    result = run_command("datadir", "segment", tmp_path / "in", tmp_path / "out", *flags)
    assert result.code == 0
    *cut, short = read_data_directory(tmp_path / "out")
    assert (short.id, short.text, short.start) == ("b-1", last.text, 0.0)
    assert short.end == pytest.approx(len(waves[2]) / SAMPLE_RATE)
    assert len(cut) >= 2 and all(u.id.startswith("a-1-") and u.labels == {"accent": "x"} for u in cut)
    assert all(u.end - u.start <= 12 and "zebras" not in u.text for u in cut)
    for told in (result.err, (tmp_path / "out.dropped.txt").read_text()):
        assert "a-1, " in told and "zebras" in told


def test_wrong_texts_and_an_untrained_base_are_refused(spoken, base_folder, save_base, tmp_path, run_command):
    """Before, both were cut into segments without a word."""
    waves = {f"{n}-1": np.concatenate([load_audio(u.source) for u in spoken[5 * n :][:5]]) for n in (0, 1)}
    texts = {f"{n}-1": " ".join(u.text for u in spoken[5 * n :][:5]) for n in (0, 1)}
    right = sound_directory(tmp_path / "right", waves, texts)
    wrong = sound_directory(tmp_path / "wrong", waves, texts | {"1-1": texts["0-1"]})
    command = ("datadir", "segment", "--max-seconds", "12", "--min-score", "-9")
    assert run_command(*command, "--base", base_folder, wrong, tmp_path / "out").code == 0
    assert {u.id[:3] for u in read_data_directory(tmp_path / "out")} == {"0-1"}
    assert "1-1, 0.00 to " in (tmp_path / "out.dropped.txt").read_text()
    base = save_base(tmp_path / "untrained")
    result = run_command(*command, "--base", base, right, tmp_path / "none")
    assert result.code == 1 and "no recording aligns with its text" in result.err
    assert "hardly better than reversed" in result.err and not (tmp_path / "none").exists()
