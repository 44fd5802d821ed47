"""corrections: what is stored, replaced, deleted; what can't be used; and which adapter learning keeps."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from corpus_files import full_disk
from tiny_models import random_adapter

from ia3_speech import load_base
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, read_record, write_record
from ia3_speech.adapters.spec import term_at
from ia3_speech.commands import corrections as corrections
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.training.cross_validation import training_utterances
from ia3_speech.voices import store, voice
from tests.commands.test_train import NO_DROPOUT, record

# Options of a base that writes too many words, which learning makes fewer.
WORDY = NO_DROPOUT | {"layerdrop": 0.0, "mask_time_prob": 0.0, "sharpness": 50, "delimiter": 1}


@pytest.fixture
def place(tmp_path, save_base) -> Path:
    """A folder with new recordings, and data/train, which the adapter anna of speaker 042 was trained on."""
    save_base(tmp_path / "base", seed=2, **WORDY)
    record(tmp_path / "data/train", 6)
    record(tmp_path / "new", 4, seed=1)
    more = {"labels": {"speaker": "042"}, "training": {"data": "data/train"}}
    random_adapter(tmp_path / "base", tmp_path / "exp/anna/adapter", 42, **more)
    registry.register(tmp_path / "exp/anna", "anna")
    return tmp_path


def learn_with(monkeypatch, **options) -> None:
    """A voice learns with these options, and without replay."""
    few_options = voice.few_options
    options |= {"batch_utterances": 2, "replay": None}
    monkeypatch.setattr(
        voice, "few_options", lambda *words, **changes: replace(few_options(*words, **changes), **options)
    )


def stored() -> dict[str, str]:
    """File name before it was stored → text."""
    return {u.id.split("-")[1]: u.text for u in voice.read_store("anna")}


def test_a_recording_is_stored_and_its_text_replaced_and_deleted(place, run_command):
    def run(*words) -> str:
        result = run_command("corrections", *words)
        assert result.code == 0, result.err
        return result.out

    audio, folder = place / "audio/new/0.wav", store.store_of("anna")
    run("add", "anna", audio, "no  fever")
    assert stored() == {"0": "no fever"}
    [utterance] = voice.read_store("anna")
    wave, rate = soundfile.read(utterance.source)
    assert (rate, len(wave), utterance.speaker) == (16_000, 8_000, "042")
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    shutil.copy(audio, place / "again.wav")  # the same recording
    run("add", "anna", place / "again.wav", "no cough")
    assert stored() == {"0": "no cough"}
    listed = run("list", "anna").splitlines()[1]
    assert listed.split(maxsplit=3) == [utterance.id, "0.5", "no", "no cough"]
    run("add", "anna", place / "audio/new/1.wav", "no")
    assert run_command("corrections", "remove", "anna", utterance.id, "x").code == 1 and len(stored()) == 2
    run("remove", "anna", utterance.id)
    assert stored() == {"1": "no"} and [file.stem[:5] for file in folder.glob("audio/*")] == ["042-1"]
    run("remove", "anna")
    assert not folder.exists()


def test_a_full_disk_is_named_and_leaves_no_recording_without_a_text(place, run_command):
    audio, folder = place / "audio/new/0.wav", store.store_of("anna")
    with full_disk(2_000):
        done = run_command("corrections", "add", "anna", audio, "no fever")
    assert done.code == 1 and f"{folder / 'audio'}/" in done.err and "File too large" in done.err
    (folder / "data").write_text("")  # the recording can be written, and its text can't
    done = run_command("corrections", "add", "anna", audio, "no fever")
    assert done.code == 1 and f": {folder / 'data'}: " in done.err
    assert not [*(folder / "audio").iterdir()]


def test_unusable_corrections_are_named_by_line_and_the_rest_is_stored(place, run_command):
    table = place / "audio/new/table.csv"
    rows = ["file,text", "0.wav,no fever", "gone.wav,no", "1.wav,größer", "2.wav,?", "0.wav,no"]
    table.write_text("\n".join(rows), "utf-8")
    result = run_command("corrections", "add", "anna", table)
    assert result.code == 1 and stored() == {"0": "no fever"}
    faults = ["3: .*no such file", "4: .*'ö'", "5: .*no word is left", f"6: the same recording as {table}:2 "]
    for fault, line in zip(faults, result.err.splitlines(), strict=True):
        assert re.match(f"{table}:{fault}", line), line


def test_terms_that_stay_wrong_become_hot_words(place):
    pairs = [("take letrozole twice", "take let us all twice"), ("stop letrozole twice", "stop let it twice"),
             ("never more", "no"), ("then at ten", ""), ("then at six", "")]  # fmt: skip
    missed = voice.missed_terms([[text.split() for text in pair] for pair in pairs])
    assert missed == ["letrozole"], "said several times, never right, and no short word"
    folder = registry.adapters_dir() / "anna"
    (folder / "hotwords.txt").write_text("metformin\t2\tMet Formin\nfollow-up\n")
    shutil.copytree(folder, place / "new/anna", ignore=shutil.ignore_patterns("hotwords.txt"))
    (folder / GATE).write_bytes(b"a gate")
    write_record(folder, read_record(folder) | {"gate": {"utterances": 2}})
    missed = voice.new_hotwords(folder, [*missed, "metformin", "followup"], load_base("mini"))
    assert missed == ["letrozole"], "the others are spelled as hot words are"
    assert voice.register_learnt("anna", place / "new/anna", [], missed, None) == "anna@1"
    assert (folder / "hotwords.txt").read_text() == "metformin\t2\tMet Formin\nfollow-up\nletrozole\n"
    assert (folder / GATE).read_bytes() == b"a gate" and read_record(folder)["gate"] == {"utterances": 2}
    assert SearchOptions().complete(folder).hotwords == folder / "hotwords.txt"


def test_learning_registers_only_adapters_that_are_better_by_folds(place, monkeypatch, capsys):
    folder = registry.adapters_dir() / "anna"
    (folder / "hotwords.txt").write_text("metformin\n")  # registered with it
    before = registry.file_contents(folder)
    for number in range(4):
        corrections.add("anna", str(place / f"audio/new/{number}.wav"), "no")
    corrections.add("anna", str(place / "data/audio/train/5.wav"), "no")  # of the old data
    ids = {utterance.id for utterance in voice.read_store("anna")}

    def learn(rate: float = 0.3) -> str:
        with monkeypatch.context() as patch:
            learn_with(patch, learning_rate=rate, epochs=4 if rate == 0.3 else 1)
            corrections.learn("anna")
        return capsys.readouterr().out

    assert "anna stays as it is" in learn(rate=1e-30)
    assert registry.registered_names() == ["anna"] and registry.file_contents(folder) == before
    for most, said in ((0.0, "anna stays as it is"), (1.1, "the old one is anna@1")):
        monkeypatch.setattr(voice, "MAX_OUT_OF_DOMAIN_ERRORS", most)
        assert said in learn()
    assert registry.file_contents(registry.adapters_dir() / "anna@1") == before
    assert (folder / "hotwords.txt").read_text() == "metformin\n"
    old = {f"s{number % 2}-{number:02d}" for number in range(5)}  # the sixth was corrected
    assert training_utterances(term_at("anna", folder)) == ids | old
    training = read_record(folder)["training"]
    assert training["corrections"].keys() == ids and training["data"] == str(place / "data/train")
    assert sorted(path.name for path in store.store_of("anna").iterdir()) == ["audio", "data"]
    with pytest.raises(UserError, match="nothing new"):
        learn()
    held_out = training["held_out_errors"]
    assert held_out.keys() == ids | old and sum(held_out.values()) == training["errors"]
    corrections.remove("anna", min(ids))
    said = capsys.readouterr().out
    assert "anna: was trained on them" in said and "corrections learn anna trains a new adapter" in said
    write_record(folder, read_record(folder) | {"training": training | {"held_out_errors": {}}})
    said = learn()
    assert "anna@2 was trained on removed recordings" in said, said
    assert training_utterances(term_at("anna", folder)) == ids - {min(ids)} | old


def test_an_adapter_is_refused_if_the_interval_says_so_not_for_a_single_error(place, monkeypatch, capsys):
    """One error more on the held-out sentences is no evidence; some more in each sentence are."""
    for number in range(4):
        corrections.add("anna", str(place / f"audio/new/{number}.wav"), "no")
    learn_with(monkeypatch, learning_rate=0.3, epochs=3)
    monkeypatch.setattr(voice, "MAX_OUT_OF_DOMAIN_ERRORS", 100.0)
    folder = registry.adapters_dir() / "anna"
    corrections.learn("anna")
    first = read_record(folder)
    capsys.readouterr()
    for fewer, said in ((1, "anna is replaced"), (10, "clearly more errors than the old one")):
        recorded = first["training"]["held_out_errors"]
        better = {id: errors - 1 for id, errors in [*recorded.items()][:fewer]}
        removed = first["training"]["corrections"] | {"gone": 0}  # so there is something to learn
        changed = {"held_out_errors": recorded | better, "corrections": removed}
        write_record(folder, first | {"training": first["training"] | changed})
        corrections.learn("anna")
        out = capsys.readouterr().out
        assert said in out and "old adapter" in out, out
