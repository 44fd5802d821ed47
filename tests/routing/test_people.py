"""Who speaks: people who agreed are recognised by `auto`, others never; what is stored, and deleted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus_files import sound_directory
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_guard import rule

from ia3_speech import load
from ia3_speech.adapters import registry
from ia3_speech.adapters.hub import copy_publishable
from ia3_speech.adapters.record import GATE, PEOPLE, read_record, write_record
from ia3_speech.adapters.spec import choosable_adapters
from ia3_speech.atomic import write_json
from ia3_speech.corrections import store
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import speech_statistics
from ia3_speech.routing.guard import write_rule
from ia3_speech.routing.people import add_background, fit_background, unlike_the_others
from tests.routing.conftest import add_adapter, prepare_once, put_back, sound

VOICES = {"anna": 0.85, "bert": 0.55, "unknown": 0.25}  # share of a quarter of a second with sound


def say(voice: str | float, seed: int) -> np.ndarray:
    """A second of noise, interrupted as the voice does it."""
    return sound(VOICES.get(voice, voice), seed)


def recorded(folder: Path, voices: dict[str, str | float], count: int, first: int = 0) -> Path:
    """A data directory of `count` utterances of each speaker."""
    ids = [(f"{speaker}-{number:02}", voice) for speaker, voice in voices.items() for number in range(count)]
    waves = {id: say(voice, 1000 * first + number) for number, (id, voice) in enumerate(ids)}
    return sound_directory(folder / "data", waves)


@pytest.fixture(scope="module")
def people_prepared(save_base, run_command, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")

    def add(base: Path) -> None:
        many = recorded(folder / "many", {f"p{n}": 0.1 + 0.06 * n for n in range(14)}, 5, first=1)
        for words in ((), ("--identify", "yes")):
            assert run_command("adapters", "gate", base, "--data", many, *words).code == 0
        for seed, name in enumerate(("anna", "bert")):
            add_adapter(base, name, seed, labels={"speaker": name})
            data = recorded(folder / name, {name: name}, 10, first=2 + seed)
            done = run_command("adapters", "gate", name, "--data", data, "--identify", "yes")
            gate = registry.adapters_dir() / name / GATE
            assert done.out == f"{gate}: of 10 utterances, by which auto recognises the person\n", done.err

    return prepare_once(folder, save_base, add)


@pytest.fixture
def people(people_prepared) -> Path:
    """A base that knows how voices differ, and adapters of anna and bert, who agreed to be recognised."""
    return put_back(people_prepared)


def chosen(base: Path, voice: str, adapter: str = "auto", **options) -> str | None:
    return load(base, adapter=adapter, **options).transcribe(say(voice, 90)).choices[0].adapter


def test_a_person_is_recognised_and_an_unknown_speaker_gets_the_base(people):
    assert [chosen(people, voice) for voice in VOICES] == ["anna", "bert", None]
    assert chosen(people, "bert", "auto:anna") is None
    assert chosen(people, "bert", "auto-sum") == "bert"
    wave = say("anna", 91)
    named = load(people, adapter="anna").transcribe(wave)
    assert load(people, adapter="auto:anna,bert").transcribe(wave).text == named.text


def test_the_room_of_enrolled_people_tells_them_less_apart():
    """Their points are far from the background's mean, and vary in a direction in which its people don't."""
    random, size = np.random.default_rng(0), 6
    voices = random.normal(size=(40, size))
    points = np.repeat(voices, 10, 0) + 0.3 * random.normal(size=(400, size))
    background = fit_background(points, np.repeat(np.arange(40), 10))
    room, varying = np.full(size, 5.0), np.eye(size)[0]

    def say(voice: np.ndarray, count: int) -> np.ndarray:
        noise = 0.3 * random.normal(size=(count, size)) + 3 * random.normal(size=(count, 1)) * varying
        return voice + room + noise

    people = voices[:4] + random.normal(size=(4, size))
    speech = [speech_statistics(say(voice, 30)) for voice in people]
    adapted, means = background.adapted(speech), np.array([each.mean for each in speech])
    right = {}
    for name, each in (("background", background), ("adapted", adapted)):
        tested = each.project(np.concatenate([say(voice, 200) for voice in people]))
        ratios = each.log_ratios(tested, each.project(means), np.full(4, 30))
        right[name] = (ratios.argmax(1) == np.repeat(np.arange(4), 200)).mean()
    assert right["adapted"] > right["background"] + 0.05, right
    centre = means.mean(0) - background.mean
    assert np.allclose(adapted.mean - background.mean, centre / 2)  # four people count as the background


def test_who_did_not_agree_is_never_recognised(people, tmp_path, run_command):
    add_adapter(people, "carl", 3, labels={"speaker": "carl"})
    run_command("adapters", "gate", "carl", "--data", recorded(tmp_path / "carl", {"carl": "anna"}, 10))
    assert [term.name for term in choosable_adapters()] == ["anna", "bert"]
    carl = registry.adapters_dir() / "carl"
    write_record(carl, read_record(carl) | {"gate": {"utterances": 10, "identify": True}})  # a false claim
    assert [term.name for term in load(people, adapter="auto").recognizer.spec.terms] == ["anna", "bert"]
    data = recorded(tmp_path / "anna", {"anna": "anna"}, 10, first=2)
    assert run_command("adapters", "gate", "anna", "--data", data, "--identify", "no").code == 0
    assert [term.name for term in choosable_adapters()] == ["bert", "carl"]
    assert "points" not in load_file(registry.adapters_dir() / "anna" / GATE)


def test_a_domain_and_a_person_are_summed(people, tmp_path, run_command):
    """The domain's adapter is of anna's sounds, and general speech is not."""
    general = recorded(tmp_path / "general", {f"g{n}": 0.2 + 0.01 * n for n in range(10)}, 4, first=7)
    run_command("adapters", "gate", people, "--data", general)
    add_adapter(people, "medical", 5)
    data = recorded(tmp_path / "medical", {"m": "anna"}, 40, first=8)
    run_command("adapters", "gate", "medical", "--data", data)
    wave = say("anna", 92)
    result = load(people, adapter="auto").transcribe(wave)
    assert result.choices[0].adapter == "medical+anna"
    assert result.text == load(people, adapter="medical+anna").transcribe(wave).text
    assert chosen(people, "bert") == "bert"


def test_the_rule_of_a_persons_adapter_has_the_last_word(people):
    base = load(people).recognizer.base
    write_rule(people, rule(), base.fingerprint)
    for constant, expected in ((-30.0, None), (30.0, "anna")):
        only = replace(rule(constant), deviations=None)
        write_rule(registry.adapters_dir() / "anna", only, base.fingerprint)
        assert chosen(people, "anna") == expected
        assert chosen(people, "anna", guard=False) == "anna"
    router = load(people, adapter="auto", guard=True).recognizer.router
    [candidates] = router([base.features(say("bert", 90))])
    assert "anna" not in {each.name for each in candidates.recognizers}


def test_recordings_of_another_person_are_named(people, tmp_path):
    base = load(people).recognizer.base
    data = recorded(tmp_path / "mixed", {"anna": "anna", "zoe": "unknown"}, 8, first=9)
    utterances = [*read_data_directory(data)]
    assert unlike_the_others(base, utterances[:8]) == []
    assert unlike_the_others(base, utterances[:10]) == ["zoe-00", "zoe-01"]
    assert unlike_the_others(base, utterances[:4]) == [], "too few"
    for utterance in utterances:
        Path(utterance.source).write_bytes(b"no audio")
    assert unlike_the_others(base, utterances) == []
    with pytest.raises(UserError, match="none of 16 utterances has audio"):
        add_background(tmp_path, base, utterances)


# ---- bad input


def test_recordings_of_two_people_or_of_too_few_are_refused(people, tmp_path, run_command):
    two = recorded(tmp_path / "two", {"anna": "anna", "zoe": "bert"}, 2)
    for words, fault in (
        (("--data", two), "the recordings are of anna, zoe"),
        ((), "no recordings are stored"),
    ):
        done = run_command("adapters", "gate", "anna", "--identify", "yes", *words)
        assert done.code == 1 and fault in done.err
    done = run_command("adapters", "gate", people, "--data", two, "--identify", "yes")
    assert done.code == 1 and "2 speakers are too few" in done.err
    assert chosen(people, "anna") == "anna", "nothing of this changed the gate"


@pytest.mark.parametrize("place", ["adapter", "base"])
def test_damaged_statistics(people, place):
    file, key = (
        (people / PEOPLE, "people") if place == "base" else (registry.adapters_dir() / "anna" / GATE, "gate")
    )
    with safe_open(file, "np") as opened:
        metadata, name = opened.metadata(), "projection" if place == "base" else "points"
    whole, tensors = file.read_bytes(), load_file(file)
    other = json.loads(metadata[key])
    other["fingerprint"]["layers"] = 99
    damages = [
        ("its tensors are not of", {name: tensors[name][:3]}, metadata),
        ("holds no numbers", {name: np.full_like(tensors[name], np.nan)}, metadata),
        ("another type", {name: tensors[name].astype(np.float64)}, metadata),
        ("of another base", {}, {key: json.dumps(other)}),
    ]
    for fault, damage, header in damages:
        save_file(tensors | damage, file, header)
        with pytest.raises(UserError, match=fault):
            load(people, adapter="auto:anna")
        if place == "adapter":
            assert [term.name for term in load(people, adapter="auto").recognizer.spec.terms] == ["bert"]
    file.write_bytes(whole[:100])
    with pytest.raises(UserError, match="writes it again"):
        load(people, adapter="auto:anna")
    file.unlink()
    with pytest.raises(UserError, match="has no statistics of voices" if place == "base" else "has no gate"):
        load(people, adapter="auto:anna")


# ---- what is stored, and deleted


def test_the_card_says_it_and_no_copy_leaves(people, tmp_path):
    folder = registry.adapters_dir() / "anna"
    assert "may recognise them by their voice" in (folder / "README.md").read_text()
    (tmp_path / "copy").mkdir()
    copy_publishable(folder, tmp_path / "copy", "anna")
    assert not (tmp_path / "copy" / GATE).exists() and "gate" not in read_record(tmp_path / "copy")
    assert "recognise them" not in (tmp_path / "copy/README.md").read_text()


def test_consent_can_be_withdrawn_without_recordings(people, run_command):
    gate = registry.adapters_dir() / "anna" / GATE
    assert gate.is_file()
    done = run_command("adapters", "gate", "anna", "--identify", "no")
    assert done.code == 1 and "anna: no recordings are stored" in done.err and not gate.exists()


def test_deletion_removes_it_of_an_adapter_that_stays_too(people):
    folder = registry.adapters_dir() / "anna"
    shutil.copytree(folder, folder.with_name("anna@1"))
    write_json(store.voice_folder("anna") / store.VOICE, {"owner": None, "identify": store.now()})
    assert store.agreed("anna")
    store.remove_voice("anna", adapter=False)  # as a key deletes a voice whose adapter is older
    for version in ("anna", "anna@1"):
        assert not (folder.with_name(version) / GATE).exists()
        assert "gate" not in read_record(folder.with_name(version))
    assert not store.agreed("anna")
    store.remove_voice("bert")
    assert not folder.with_name("bert").exists()
