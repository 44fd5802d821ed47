"""decode and transcribe hear the same words in the same recordings, guarded or not."""

import json

import pytest

from ia3_speech.data.kaldi.directory import read_data_directory
from tests.routing.conftest import data_of
from tests.routing.test_guard import guarded  # noqa: F401  (a fixture)


@pytest.mark.parametrize("guard", ["on", "off"])
def test_decode_and_transcribe_hear_the_same_words(guard, guarded, tmp_path, run_command):  # noqa: F811
    data = data_of(tmp_path / "data", "low", first=50, count=4)
    options = ("--base", guarded, "--adapter", "low", "--guard", guard)
    assert run_command("decode", *options, data, tmp_path / "out").code == 0
    lines = [line.partition(" ") for line in (tmp_path / "out/text").read_text().splitlines()]
    decoded = {id: text for id, _, text in lines}
    utterances = list(read_data_directory(data))
    done = run_command("transcribe", *options, "--format", "json", *(each.source for each in utterances))
    heard = [json.loads(line)["text"] for line in done.out.splitlines()]
    assert any(heard) and heard == [decoded[each.id] for each in utterances]
