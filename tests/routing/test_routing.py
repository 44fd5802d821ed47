"""--adapter auto: what an adapter's speech is like, the gate that reads it, and what it chooses."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ia3_speech import Bank, LoadOptions, load, load_base
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, read_record
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.routing.gate import (
    GaussianGate,
    add_gate,
    measure_speech,
    read_gate,
    speech_statistics,
    write_gate,
)
from tests.routing.conftest import KINDS, add_adapter, data_of, sound


def test_statistics_come_back_as_they_were_and_are_small(tiny_base, tmp_path):
    base = tiny_base(conv_dim=(16, 16, 544))
    speech = measure_speech(base, (sound("low", seed) for seed in range(5)))
    assert speech.count == 5 and speech.mean.shape == (544,)
    points = np.array([base.features(sound("low", seed)).std(0, unbiased=False) for seed in range(5)])
    np.testing.assert_allclose(speech.scatter, 4 * np.cov(points.T), rtol=1e-3, atol=1e-6)
    write_gate(tmp_path, speech, base.fingerprint)
    again = read_gate(tmp_path, base.fingerprint)
    assert (tmp_path / GATE).stat().st_size < 310_000
    np.testing.assert_allclose(again.mean, speech.mean, rtol=1e-6)
    assert np.abs(again.scatter - speech.scatter).max() < 1e-3 * np.abs(speech.scatter).max()
    with pytest.raises(UserError, match="too few for a gate"):
        measure_speech(base, [sound("low", 0)])
    with pytest.raises(UserError, match="0 utterances are too few for a gate"):
        add_gate(tmp_path, base, [])


FAULTS = {  # what is wrong with a gate → its tensors and its record, made so
    "channels": lambda tensors, _: tensors.update(mean=np.zeros(12_000, np.float32)),
    "other base": lambda tensors, _: tensors.update({name: tensors[name][:3] for name in tensors}),
    "beyond 1": lambda tensors, _: tensors["correlation"].fill(10),
    "no covariance": lambda tensors, _: tensors["correlation"].fill(-1),  # three can't be opposed in pairs
    "deviation": lambda tensors, _: tensors["deviation"].fill(-1),
    "float64": lambda tensors, _: tensors.update(deviation=np.full(len(tensors["mean"]), 1e200)),
    "count": lambda _, record: record.update(utterances=10**400),
    "too wide": lambda tensors, _: tensors["deviation"].fill(100),  # no other would be chosen
    "type": lambda _, record: record.update(utterances="24"),
}


def damage_gate(folder: Path, fault: str) -> None:
    """Write the gate of a folder again, with a fault."""
    with safe_open(folder / GATE, "np") as file:
        record, tensors = json.loads(file.metadata()["gate"]), load_file(folder / GATE)
    FAULTS[fault](tensors, record)
    save_file(tensors, folder / GATE, {"gate": json.dumps(record)})


def test_an_unusable_gate_is_named_and_left_out(two, caplog):
    gate = registry.adapters_dir() / "low" / GATE
    whole = gate.read_bytes()
    for fault in FAULTS:
        gate.write_bytes(whole)
        damage_gate(gate.parent, fault)
        caplog.clear()
        tracemalloc.start()
        assert [term.name for term in load(two, adapter="auto").recognizer.spec.terms] == ["high"]
        assert tracemalloc.get_traced_memory()[1] < 100e6
        tracemalloc.stop()
        assert "low/gate.safetensors: " in caplog.text
        with pytest.raises(UserError, match="adapters gate writes it again"):
            load(two, adapter="auto:low")


def test_a_gate_knows_the_kinds_and_takes_the_base_for_what_is_between():
    random = np.random.default_rng(0)
    means = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]])
    kinds = []
    for mean, count in zip(means, (400, 20, 200), strict=True):
        points = random.normal(mean, (1, 1, 0), (count, 3))  # a channel that is always the same
        kinds.append(speech_statistics(points))
    gate = GaussianGate(kinds[0], kinds[1:])
    found = gate.probabilities(np.array([*means, [4.4, 0, 0], [0, 8, 0]]))
    assert found.argmax(1).tolist() == [0, 1, 2, 0, 2]
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("placements", [("key", "ffn"), ("conv", "value")])
def test_rows_of_given_features_are_as_if_they_were_named(tiny_folder, placements):
    for name, seed in (("low", 1), ("high", 2)):
        add_adapter(tiny_folder, name, seed, *placements)
    bank = Bank(load_base(tiny_folder))
    bank.add("low"), bank.add("high")
    waves, names = [sound("low", 0), sound("general", 1, 0.7), sound("high", 2)], ["low", None, "high"]
    features = [bank.base.features(wave) for wave in waves]
    found = bank.logits(waves, names, features=features)
    assert all(torch.equal(*pair) for pair in zip(bank.logits(waves, names), found, strict=True))


def test_each_recording_has_the_adapter_that_it_calls_for(two, tmp_path, run_command):
    waves = {f"{kind}{seed}.wav": (kind, seed) for kind in KINDS for seed in (90, 91)}
    for file, (kind, seed) in waves.items():
        soundfile.write(tmp_path / file, sound(kind, seed), SAMPLE_RATE)
    files = [tmp_path / file for file in waves]
    code, out, err = run_command("transcribe", "--base", two, "--adapter", "auto", "--format", "json", *files)
    assert (code, err) == (0, "")
    asr, chosen = load(two, search=None), load(two, adapter="auto")
    for line, file, (kind, _) in zip(out.splitlines(), files, waves.values(), strict=True):
        record = json.loads(line)
        adapter = None if kind == "general" else kind
        assert record["adapter"] == "auto" and record["gate"][0].pop("probability") > 0.9
        assert record["gate"] == [{"start": 0.0, "end": 1.0, "adapter": adapter}]
        alone = asr.transcribe(file, adapter=adapter).text
        assert record["text"] == alone == asr.transcribe(file, adapter="auto").text
        assert chosen.transcribe(file).text == alone
        only = asr.transcribe(file, adapter="auto:low")
        assert only.choices[0].adapter == ("low" if kind == "low" else None)
    both = np.concatenate([sound("low", 5, 3.0), sound("high", 6, 3.0)])
    options = LoadOptions(max_seconds=2.0, vad="off")
    pieces = load(two, adapter="auto", options=options).transcribe(both).choices
    assert {piece.adapter for piece in pieces} >= {"low", "high"}, pieces


def test_who_is_chosen_is_searched_as_registered_and_a_person_only_by_name(two, tmp_path, run_command):
    """An adapter's own search goes with it; `auto` takes neither a person's adapter nor an earlier one."""
    (registry.adapters_dir() / "low/lm.json").write_text('{"search": "greedy"}\n')
    (registry.adapters_dir() / "high/hotwords.txt").write_text("metformin\n")
    (registry.adapters_dir() / "high/lm.json").write_text("{}\n")
    add_adapter(two, "ann", 3, labels={"speaker": "ann"})
    add_adapter(two, "low@1", 4)
    router = load(two, adapter="auto").recognizer
    assert [term.name for term in router.spec.terms] == ["high", "low"]
    for kind in ("low", "high"):
        [candidates] = router.router([router.base.features(sound(kind, 77))])
        [recognizer], (_, choice) = candidates.recognizers, candidates.choose([], {})
        assert choice.adapter == kind and ("hotwords" in recognizer.search_record) == (kind == "high")
    with pytest.raises(UserError, match=r"^ann: has no gate, .*ia3-speech adapters gate ann --data DIR"):
        load(two, adapter="auto:ann,low")
    run_command("adapters", "gate", "ann", "--data", data_of(tmp_path / "ann", "low", 30))
    assert [term.name for term in load(two, adapter="auto:ann").recognizer.spec.terms] == ["ann"]


def test_a_mean_of_people_has_their_gates_and_names(two, tmp_path, run_command):
    people = {"ann": "low", "bert": "high", "carl": "high"}
    for seed, (name, kind) in enumerate(people.items(), 3):
        add_adapter(two, name, seed, labels={"speaker": name})
        run_command("adapters", "gate", name, "--data", data_of(tmp_path / name, kind, 30))
    mean = ["adapters", "combine", "--average", *people, "--name", "group", "--base", two]
    assert run_command(*mean).code == 0
    folder = registry.adapters_dir() / "group"
    assert read_record(folder)["labels"] == {"speaker": "ann+bert+carl"}
    base = load_base(two).fingerprint
    each = [read_gate(registry.adapters_dir() / name, base) for name in people]
    pooled, points = read_gate(folder, base), sum(gate.count * gate.mean for gate in each) / 72
    assert pooled.count == 72 and np.allclose(pooled.mean, points, rtol=1e-5)
    total = sum(g.scatter / 23 + np.outer(g.mean - points, g.mean - points) for g in each) / 3
    assert np.allclose(np.diag(pooled.scatter) / 71, np.diag(total), rtol=1e-3)
