"""corrections: what is stored, replaced, deleted; what can't be used; and which adapter learning keeps."""

import shutil
from pathlib import Path

import pytest
import soundfile

from ia3_speech import corrections
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.data.kaldi import read_data_directory
from tests.test_train import record


@pytest.fixture
def place(tmp_path, speaker42) -> Path:
    """A folder with data/train, which the registered adapter speaker42 names, and recordings to correct."""
    record(tmp_path / "data/train", 6)
    record(tmp_path / "new", 4, seed=1)
    whole = read_record(speaker42)
    folder = shutil.copytree(speaker42, tmp_path / "exp/speaker42/adapter")
    write_record(folder, whole | {"labels": {"speaker": "042"}, "training": {"data": "data/train"}})
    registry.register(folder, "speaker42", force=True)
    return tmp_path


def stored() -> dict[str, str]:
    """File name before it was stored → text."""
    return {u.id.split("-")[1]: u.text for u in corrections.read_store("speaker42")}


def test_a_recording_is_stored_and_its_text_replaced_and_deleted(place, run_command):
    audio = place / "audio/new/0.wav"
    assert run_command("corrections", "add", "speaker42", audio, "no  fever").code == 0
    assert stored() == {"0": "no fever"}
    [utterance] = corrections.read_store("speaker42")
    wave, rate = soundfile.read(utterance.source)
    assert (rate, len(wave), utterance.speaker) == (16_000, 8_000, "042")
    folder = corrections.store_of("speaker42")
    assert folder.parent.stat().st_mode & 0o777 == 0o700

    shutil.copy(audio, place / "again.wav")  # the same recording
    result = run_command("corrections", "add", "speaker42", place / "again.wav", "no cough")
    assert result.out.startswith("speaker42: 1 correction taken, of which 1 replace")
    assert stored() == {"0": "no cough"}
    listed = run_command("corrections", "list", "speaker42").out.splitlines()[1]
    assert listed.split(maxsplit=3) == [utterance.id, "0.5", "no", "no cough"]

    run_command("corrections", "add", "speaker42", place / "audio/new/1.wav", "no")
    unknown = run_command("corrections", "remove", "speaker42", utterance.id, "x")
    assert unknown.code == 1 and "there is no correction x" in unknown.err and len(stored()) == 2
    assert run_command("corrections", "remove", "speaker42", utterance.id).code == 0
    assert stored() == {"1": "no"} and [file.stem[:5] for file in folder.glob("audio/*")] == ["042-1"]
    assert run_command("corrections", "remove", "speaker42").code == 0
    assert not folder.exists()


def test_what_can_not_be_used_is_named_by_line_and_the_rest_is_taken(place, run_command):
    table = place / "audio/new/table.csv"
    rows = ["file,text,speaker", "0.wav,no fever,anna", "gone.wav,no,anna", "1.wav,größer,anna", "2.wav,?,anna"]
    rows += ["broken.wav,no,anna", "0.wav,no,anna", f"3.wav,{30 * 'long '},anna"]
    table.write_text("\n".join(rows), "utf-8")
    (table.parent / "broken.wav").write_text("no audio")
    result = run_command("corrections", "add", "speaker42", table)
    assert result.code == 1 and stored() == {"0": "no fever"}
    faults = [
        "3: .*gone.wav: no such file",
        "4: the base can't write 'ö' × 1 .*'ß' × 1 ",
        "5: 2.wav: no word is left of its text '\\?'",
        "6: .*broken.wav: is not audio",
        f"7: the same recording as {table}:2 ",
        "8: 3.wav: .* frames are needed",
    ]
    lines = result.err.splitlines()
    for fault, line in zip(faults, lines, strict=True):
        assert pytest.importorskip("re").match(f"{table}:{fault}", line), line


def test_edited_transcripts_of_a_folder(place, run_command):
    texts = place / "texts"
    (texts / "monday").mkdir(parents=True)
    (place / "recordings/monday").mkdir(parents=True)
    shutil.copy(place / "audio/new/0.wav", place / "recordings/monday")
    (texts / "monday/0.txt").write_text("no fever\n")
    (texts / "1.txt").write_text("no\n")
    command = ["corrections", "add", "speaker42", texts]
    result = run_command(*command, "--recordings", place / "recordings")
    assert result.code == 1 and stored() == {"0": "no fever"}
    assert result.err == f"{texts}/1.txt: no recording in {place}/recordings has its name\n"
    assert "what is said there?" in run_command(*command).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "speaker43", "a.wav", "no"], "no adapter has this name (nearest names: speaker42)"),
        (["add", "../x", "a.wav", "no"], "can't be an adapter's name"),
        (["remove", "../x"], "can't be an adapter's name"),
        (["learn", "speaker42"], "there is nothing new to learn"),
        (["list", "speaker42"], "there are no corrections"),
        (["remove", "speaker42"], "there are no corrections"),
    ],
)
def test_what_is_refused(place, run_command, words, message):
    result = run_command("corrections", *words)
    assert result.code == 1 and message in result.err and "Traceback" not in result.err


def test_learning_takes_old_data_and_corrections_and_keeps_what_is_better(place, run_command, monkeypatch):
    before = registry.file_contents(registry.home() / "speaker42")
    (registry.home() / "speaker42/hotwords.txt").write_text("metformin\n")
    names = [file for file in (place / "audio/new").iterdir()]
    for file in names:
        run_command("corrections", "add", "speaker42", file, "no")
    # A correction of something old replaces it.
    run_command("corrections", "add", "speaker42", place / "audio/train/5.wav", "no")
    result = run_command("corrections", "learn", "speaker42")
    assert result.code == 0, result.err
    print(result.out, result.err)
    assert 0
