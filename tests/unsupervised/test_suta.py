"""Test-time adaptation: its objective, that it adapts, and that it stays with its own request."""

import json
from concurrent.futures import ThreadPoolExecutor
from math import log

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import noise_waves, random_adapter

from ia3_speech import load
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.unsupervised import suta
from ia3_speech.unsupervised.suta import ENTROPY_WEIGHT, suta_loss

WAVES = noise_waves(*(0.5 + number / 32 for number in range(8)))


def test_the_objective_is_the_published_one():
    assert float(suta_loss(torch.zeros(6, 4), blank=1)) == pytest.approx(
        ENTROPY_WEIGHT * log(4) + (1 - ENTROPY_WEIGHT) * 3 / 4
    )
    sure = 1e3 * torch.eye(4)
    assert float(suta_loss(sure, blank=0)) == pytest.approx(0, abs=1e-6)
    # A blank frame has no part in the entropy, and has one in the class confusion.
    unsure = torch.tensor([[2.5, 0.0], [0.0, 2.5]])  # softmax of 1 and 0
    p = np.exp(1) / (1 + np.exp(1))
    entropy = -(p * log(p) + (1 - p) * log(1 - p))
    assert float(suta_loss(unsure, blank=0)) == pytest.approx(
        ENTROPY_WEIGHT * entropy + (1 - ENTROPY_WEIGHT) * 2 * p * (1 - p), rel=1e-6
    )
    assert not suta_loss(1e3 * torch.eye(4)[:1].requires_grad_(), blank=0).requires_grad  # nothing was heard


def test_a_request_adapts_alone_and_the_model_stays(random_base, tmp_path, monkeypatch):
    random_adapter(random_base, tmp_path / "adapter", 2, "key", "ffn", low=0.5, high=1.5)
    asr, [wave, other] = load(random_base, test_time="suta"), WAVES[:2]
    recognizer = asr.recognizer
    state = {name: tensor.clone() for name, tensor in recognizer.base.model.state_dict().items()}
    adapted = recognizer.logits([wave])[0]
    blank = recognizer.base.vocabulary.blank
    plain = load(random_base).recognizer.logits([wave])[0]
    assert suta_loss(adapted, blank) < suta_loss(plain, blank)
    assert torch.equal(recognizer.logits([wave])[0], adapted)
    # An adapter given with the request, or for all, is the start; and 0 steps are no adaptation.
    monkeypatch.setattr(suta, "STEPS", 0)
    requested = asr.with_adapter(tmp_path / "adapter").recognizer.logits([wave])[0]
    with_adapter = load(random_base, adapter=tmp_path / "adapter").recognizer.logits([wave])[0]
    torch.testing.assert_close(requested, with_adapter)
    torch.testing.assert_close(recognizer.logits([wave])[0], plain)
    monkeypatch.undo()
    loaded = load(random_base, adapter=tmp_path / "adapter", test_time="suta")
    expected = asr.with_adapter(tmp_path / "adapter")
    assert loaded.transcribe([wave, other]) == expected.transcribe([wave, other])
    after = recognizer.base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_threads_do_not_change_results(random_base):
    asr = load(random_base, test_time="dsuta")
    alone = [asr.transcribe([wave]) for wave in WAVES[:3]]
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(lambda wave: asr.transcribe([wave]), WAVES[:3])] == alone


def test_decode_remembers_a_speaker_and_no_other(random_base, tmp_path, run_command):
    utterances = []
    for number, wave in enumerate(WAVES):
        speaker = "bob" if number in (2, 5) else "anna"  # whose utterances are not side by side
        soundfile.write(file := tmp_path / f"{number}.wav", wave, 16_000)
        utterances.append(Utterance(file.stem, speaker, file.stem, str(file)))
    texts = {}
    for name, chosen in (("both", utterances), ("bob", [utterances[2], utterances[5]])):
        write_data_directory(tmp_path / name, chosen)
        options = ("--base", random_base, "--test-time", "dsuta", tmp_path / name, tmp_path / f"{name}_out")
        result = run_command("decode", *options)
        assert result.code == 0, result.err
        lines = (tmp_path / f"{name}_out/hyp.ctm").read_text().splitlines()
        assert lines == sorted(lines, key=lambda line: line.split()[0])
        texts[name] = [line for line in lines if line.split()[0] in ("2", "5")]
        assert json.loads((tmp_path / f"{name}_out/decode.json").read_text())["test_time"] == "dsuta"
    assert texts["both"] == texts["bob"] != []
    assert "up to date" in run_command("decode", *options).out
    assert "whom --test-time dsuta remembers" in run_command("decode", "--part", "1/2", *options).err
    assert "up to date" not in run_command("decode", *options[:3], "suta", *options[4:]).out
