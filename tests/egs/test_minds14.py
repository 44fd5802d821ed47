"""egs/minds14: its preparation, from the hub's parquet files."""

import pytest

from ia3_speech.data.huggingface import convert_dataset
from ia3_speech.data.kaldi.directory import read_data_directory
from tests.data.test_huggingface_datasets import parquet, sound

RECIPE = "minds14"
MODULES = ("prepare",)


@pytest.fixture
def hub(tmp_path, local):
    """The three countries as `datadir from-dataset` converts them, ten calls each, from parquet files."""
    import datasets

    for accent in local.prepare.ACCENTS:
        columns = {
            "path": [f"{accent}~BALANCE/response_{number}.wav" for number in range(10)],
            "audio": 10 * [sound(1.0, 8000)],
            "transcription": [f"my balance {letter} {accent[-2:]}" for letter in "abcdefghij"],
            "intent_class": 5 * [4, 5],
        }
        intents = datasets.ClassLabel(names=list(local.prepare.INTENTS))
        folder = parquet(tmp_path / "hub" / accent, columns, intent_class=intents)
        convert_dataset(str(folder), tmp_path / "minds14" / accent, labels="intent_class")
    return tmp_path / "minds14"


def test_the_hub_s_countries_become_sets_with_accents_and_intents(local, hub, tmp_path, enough_speech):
    local.prepare.main(hub, tmp_path / "out")
    sets = {name: read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test")}
    assert sum(map(len, sets.values())) == 30 and len(sets["test"]) == 6
    texts = {name: {call.text for call in data} for name, data in sets.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["dev"]
    every = [call for data in sets.values() for call in data]
    assert {call.labels["accent"] for call in every} == {"en-AU", "en-GB", "en-US"}
    assert {call.labels["intent"] for call in every} == {"balance", "business_loan"}
    assert all(call.id.startswith(call.labels["accent"]) for call in every)
