"""The guard: base or adapter, piece by piece; the rule, its file, its fit, and what refuses a guard."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech import load
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, GUARD
from ia3_speech.adapters.spec import parse_adapter
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.model.location import MINI
from ia3_speech.routing.guard import (
    INPUTS,
    LIMITS,
    Observations,
    Rule,
    add_guard,
    fit_limits,
    fit_rule,
    inputs_of,
    read_rule,
    write_rule,
)
from ia3_speech.session import Session
from tests.routing.conftest import KINDS, add_adapter, data_of, sound

NEVER_SURE = (-900.0, 900.0)
EVERY = {"gate": 1.0, "confidence": 0.0, "log_confidence": 0.0}


def rule(constant: float = 0.0, limits: tuple[float, float] = NEVER_SURE, **weights: float) -> Rule:
    """A base's rule."""
    named = EVERY | weights
    vector = np.array([constant, *(named[name] for name in INPUTS)])
    return Rule(vector, np.full(1 + len(INPUTS), 0.5), limits)


@pytest.fixture
def guarded(two) -> Path:
    """A base with a gate and a rule, and the registered adapters `low` and `high`; the gate is never sure."""
    session = Session(load(two).recognizer.base)
    for folder in (two, *(registry.adapters_dir() / name for name in ("low", "high"))):
        write_rule(folder, rule(), session.base.fingerprint)
    return two


def test_without_a_guard_all_is_as_before_and_with_a_guard_each_text_is_one_of_the_two(guarded):
    wave = np.concatenate([sound(kind, seed, 2.0) for seed, kind in enumerate([*KINDS, "low", "general"])])
    off = {"options": LoadOptions(max_seconds=2.0, vad="off")}
    base = load(guarded, **off)
    asr = load(guarded, adapter="low", guard=False, **off)
    assert asr.recognizer.router is None and asr.recognizer.spec == parse_adapter("low")
    pieces = [wave[first:end] for first, end in asr.recognizer.cut(wave)]
    alone = {name: [t.transcribe(p).text for p in pieces] for name, t in {None: base, "low": asr}.items()}
    assert asr.transcribe(wave).text == " ".join(filter(None, alone["low"]))
    for constant, expected in ((-30.0, None), (30.0, "low"), (0.0, "either")):
        write_rule(registry.adapters_dir() / "low", rule(constant), base.recognizer.base.fingerprint)
        result = load(guarded, adapter="low", **off).transcribe(wave)
        chosen = [choice.adapter for choice in result.choices]
        assert len(chosen) == len(pieces) and (expected == "either" or {*chosen} == {expected})
        assert result.text == " ".join(filter(None, (alone[name][n] for n, name in enumerate(chosen))))
        assert all(0.4 < choice.probability <= 1 for choice in result.choices)
        assert result.adapter == "low"


def test_rows_of_a_guard_equal_rows_alone_and_share_the_front_end(guarded):
    recognizer = load(guarded, adapter="low").recognizer
    waves = [sound("low", 1), sound("general", 2, 0.7)]
    session = load(guarded).session
    alone = [
        session.recognizer(parse_adapter(name)).logits([wave])[0] for wave in waves for name in (None, "low")
    ]
    logits, candidates = recognizer.candidates(waves)
    assert [[each.name for each in one.recognizers] for one in candidates] == [[None, "low"]] * 2
    for row, expected in zip(logits, alone, strict=True):
        np.testing.assert_allclose(row, expected, atol=2e-4)


def test_earlier_pieces_of_a_recording_count_and_other_recordings_dont(guarded):
    router = load(guarded, adapter="low").recognizer.router
    memory: dict[int, float] = {}
    for log_odds, expected in ((3.0, "low"), (-0.5, "low"), (-0.5, None), (0.1, None)):
        candidates = router.guarded(np.array([log_odds]))
        recognized = [each.recognize([sound("general", 3)])[0] for each in candidates.recognizers]
        _, choice = candidates.choose(recognized, memory)
        assert choice.adapter == expected or len(memory) == 2
        if log_odds == 0.1:
            assert candidates.choose(recognized, {})[1].adapter == "low"
    assert router.likely({}).name == "low" and router.likely({0: 0.9, 1: 0.1}).name is None


def test_where_the_gate_is_sure_one_row_is_computed(guarded):
    fingerprint = load(guarded).recognizer.base.fingerprint
    for name in ("low", "high"):
        write_rule(registry.adapters_dir() / name, rule(limits=LIMITS), fingerprint)
    router = load(guarded, adapter="low").recognizer.router
    names = [[each.name for each in router.guarded(np.array([x])).recognizers] for x in (5.0, 0.0, -5.1)]
    assert names == [["low"], [None, "low"], [None]]
    auto = load(guarded, adapter="auto", guard=True).recognizer.router
    names = [[each.name for each in auto.guarded(np.array(x)).recognizers] for x in ([9.0, 0], [1.0, 1.0])]
    assert names == [["high"], [None, "high", "low"]]


def test_auto_is_guarded_too(guarded):
    asr, plain = load(guarded, adapter="auto", guard=True), load(guarded)
    assert len(asr.recognizer.router.guards) == 2
    for kind in KINDS:
        result = asr.transcribe(sound(kind, 90))
        assert result.choices[0].adapter == (None if kind == "general" else kind)
        assert result.text == plain.transcribe(sound(kind, 90), adapter=result.choices[0].adapter).text
    for guard, has_rules in ((None, True), (False, False)):  # the adapters have rules of their own
        router = load(guarded, adapter="auto", guard=guard).recognizer.router
        assert any(router.guards) == has_rules


def test_commands_say_which(guarded, tmp_path, run_command):
    file = tmp_path / "a.wav"
    soundfile.write(file, sound("low", 5), SAMPLE_RATE)
    command = ("transcribe", "--base", guarded, "--adapter", "low", "--format", "json", file)
    record = json.loads(run_command(*command).out)
    assert record["adapter"] == "low" and record["gate"][0]["adapter"] == "low"
    assert "gate" not in json.loads(run_command(*command, "--guard", "off").out)


@pytest.mark.parametrize("guard", ["on", "off"])
def test_decode_and_transcribe_hear_the_same_words(guard, guarded, tmp_path, run_command):
    data = data_of(tmp_path / "data", "low", first=50, count=4)
    options = ("--base", guarded, "--adapter", "low", "--guard", guard)
    assert run_command("decode", *options, data, tmp_path / "out").code == 0
    lines = [line.partition(" ") for line in (tmp_path / "out/text").read_text().splitlines()]
    decoded = {id: text for id, _, text in lines}
    utterances = list(read_data_directory(data))
    done = run_command("transcribe", *options, "--format", "json", *(each.source for each in utterances))
    heard = [json.loads(line)["text"] for line in done.out.splitlines()]
    assert (tmp_path / "out/gate").is_file() == (guard == "on")
    assert any(heard) and heard == [decoded[each.id] for each in utterances]


def test_what_cannot_be_guarded_is_refused_by_name_or_left_as_it_is(guarded):
    add_adapter(guarded, "gateless", 3)
    folder = registry.adapters_dir() / "low"
    for name, reason in (("low:0.5", "of weight 1"), ("gateless", r"gate\.safetensors is missing")):
        with pytest.raises(UserError, match=rf"`guard`: .* can't be guarded: .*{reason}"):
            load(guarded, adapter=name, guard=True)
        router = load(guarded, adapter=name).recognizer.router
        assert router is None or not any(router.guards)
    with pytest.raises(UserError, match="`test_time` adapts"):
        load(guarded, adapter="low", guard=True, test_time="suta")
    with pytest.raises(UserError, match="channels"):
        load(guarded, adapter="left=low", guard=True, channels="split")
    assert load(guarded, adapter="low", test_time="suta").recognizer.router is None
    assert load(guarded, adapter=str(guarded / "low_adapter")).recognizer.router is None  # without a rule
    (folder / GUARD).unlink()
    assert load(guarded, adapter="low").recognizer.router is None
    assert load(guarded, adapter="low", guard=True).recognizer.router.guards  # by the base's rule


def test_a_base_without_gate_and_rule_has_those_of_the_package(guarded):
    (guarded / GUARD).unlink()
    (guarded / GATE).unlink()
    router = load(guarded, adapter="low", guard=True).recognizer.router
    stored = [*registry.home().glob(f"bases/*/{GATE}")]
    assert len(stored) == 1 and router.guards
    (registry.adapters_dir() / "low" / GUARD).unlink()
    assert load(guarded, adapter="low").recognizer.router is None
    [guard] = load(guarded, adapter="low", guard=True).recognizer.router.guards
    assert guard.rule.weights.tolist() == read_rule(MINI).weights.tolist()
    stored[0].write_bytes(b"")
    with pytest.raises(UserError, match="damaged: delete it;"):
        load(guarded, adapter="auto")


FAULTS = [
    lambda record: "{",
    lambda record: [],
    lambda record: record | {"weights": ["1"] * len(record["weights"])},
    lambda record: record | {"weights": [float("nan")] * len(record["weights"])},
    lambda record: record | {"weights": record["weights"][1:]},
    lambda record: record | {"fingerprint": record["fingerprint"] | {"sha256": "0" * 64}},
    lambda record: record | {"fingerprint": 3},
    lambda record: record | {"deviations": [-1.0] * len(record["weights"])},
    lambda record: record | {"schema": 2},
    lambda record: record | {"more": 64_000 * " "},
]


def test_a_damaged_rule_is_refused(guarded):
    file = registry.adapters_dir() / "low" / GUARD
    for fault in FAULTS:
        record = fault(json.loads((guarded / GUARD).read_text()))
        file.write_text(record if isinstance(record, str) else json.dumps(record))
        with pytest.raises(UserError, match=r"low/guard\.json: .*delete it: the base's rule takes its place"):
            load(guarded, adapter="low")
        assert load(guarded, adapter="low", guard=False).recognizer.router is None
        asr = load(guarded, adapter="auto", guard=True)
        assert [term.name for term in asr.recognizer.spec.terms] == ["high"]


def test_a_rule_comes_back_and_no_words_are_no_confidence(tmp_path, tiny_base):
    base = tiny_base()
    write_rule(tmp_path, rule(0.25, gate=1.5), base.fingerprint)
    again = read_rule(tmp_path, base.fingerprint)
    np.testing.assert_allclose(again.weights, rule(0.25, gate=1.5).weights)
    np.testing.assert_allclose(again.deviations, 0.5)
    none, some = inputs_of(0.0, [], [0.9, 0.8]), inputs_of(0.0, [0.9, 0.8], [0.9, 0.8])
    assert np.isfinite(none).all() and (none[1:] > 0).all() and not some.any()


def test_a_fit_finds_what_helps_and_few_utterances_stay_near_the_prior():
    random = np.random.default_rng(0)
    truth = np.array([0.5, 0.0, 8.0, 0.0])
    inputs = random.normal(0, [3, 0.3, 0.3], (3000, 3))
    better = random.random(3000) < 1 / (1 + np.exp(-(truth[0] + inputs @ truth[1:])))
    errors = np.stack([np.where(better, 2, 0), np.where(better, 0, 2)], 1)
    prior = Rule(np.array([0.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.5, 5.0, 5.0]))
    fitted = fit_rule([Observations(inputs, errors)], prior).weights
    np.testing.assert_allclose(fitted, truth, atol=0.8)
    few = fit_rule([Observations(inputs[:3], 1 - errors[:3])], prior)
    assert np.abs(few.weights - prior.weights).max() < np.abs(fitted - prior.weights).max() / 3
    equal = Observations(inputs[:5], np.ones((5, 2)))
    np.testing.assert_allclose(fit_rule([equal], prior).weights, prior.weights)


def test_the_gate_is_never_sure_and_wrong_on_dev():
    """An adapter of few utterances has a gate that is too sure."""
    gates = np.array([-8.0, -6.0, 1.0, 7.0])
    inputs = np.stack([gates, *np.zeros((2, 4))], 1)
    speech = Observations(inputs, np.array([[1, 1], [3, 1], [2, 0], [1, 0]]))
    general = Observations(inputs, np.array([[0, 2], [0, 2], [0, 2], [1, 1]]))
    assert fit_limits(speech, general) == (-6.0, LIMITS[1])
    assert fit_limits(speech, Observations(inputs, speech.errors[:, ::-1]))[1] > 7.0
    low = Rule(np.array([-1.0, 0.0, 0.0, 0.0]), limits=(-6.0, 7.0))
    assert low.takes_adapter(inputs).tolist() == [False, False, False, True]


def test_training_fits_the_rule_of_an_adapter(guarded, tmp_path):
    session, folder = load(guarded).session, registry.adapters_dir() / "low"
    (folder / GUARD).unlink()
    recognizers = [session.recognizer(parse_adapter(name)) for name in (None, "low")]
    sets = [list(read_data_directory(data_of(tmp_path / kind, kind, 60, 6))) for kind in ("low", "general")]
    assert add_guard(folder, recognizers, sets).startswith("guard: ")
    assert read_rule(folder, session.base.fingerprint).deviations is None
    assert load(guarded, adapter="low").recognizer.router.guards
