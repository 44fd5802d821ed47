"""The shipped base on shipped clips: its error rate, and that of an adapter trained on these clips."""

import json
from pathlib import Path

import pytest

from ia3_speech import load
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.run import train

CLIPS = Path(__file__).parents[1] / "ia3_speech/out_of_domain"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """8 shipped clips, 42 s."""
    folder = tmp_path_factory.mktemp("clips") / "train"
    write_data_directory(folder, read_data_directory(CLIPS / "librispeech_dev").utterances[:8])
    return folder


def error_rate(data: Path, adapter: Path | None = None) -> float:
    """The share of wrong words, by greedy search."""
    utterances = list(read_data_directory(data))
    asr = load("mini", adapter=adapter, search="greedy")
    heard = asr.transcribe([utterance.source for utterance in utterances])
    counts = [text_errors(u.text, result.text) for u, result in zip(utterances, heard, strict=True)]
    return sum(each.total for each in counts) / sum(each.words for each in counts)


def test_the_error_rate_of_the_base(data):
    """30 % was measured; a fault in features, weights or alphabet makes it about 100 %."""
    assert 0.2 < error_rate(data) < 0.4


def test_an_adapter_learns_the_clips_that_it_is_trained_on(data, tmp_path):
    """Measured: in two epochs the loss fell from 0.31 to 0.12, the error rate from 30 to 13 %."""
    out, steady = tmp_path / "exp", {"speeds": [1.0], "spec_augment": "off", "dropout": "off"}
    options = {"epochs": 2, "learning_rate": 0.03, "batch_seconds": 15.0, "seed": 1} | steady
    train(TrainingOptions(train=data, dev=data, out=out, **options))
    losses = [json.loads(line).get("loss") for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert losses[2] < 0.6 * losses[1]
    assert error_rate(data, out / "adapter") < 0.2
