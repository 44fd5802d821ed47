"""Data directories: every file to the byte, every refusal in words, fix, subset, split and their command."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.data import kaldi as datadir
from ia3_speech.data.audio import AudioError
from ia3_speech.data.kaldi import (
    DataError,
    fix_data_directory,
    read_data_directory,
    split_data_directory,
    subset_data_directory,
    validate_data_directory,
    write_data_directory,
)
from ia3_speech.data.kaldi.table_file import NUMBER, parse_number
from ia3_speech.data.kaldi.validation import label_of_table
from ia3_speech.data.utterance import Utterance
from ia3_speech.datadir import kaldi_order, main

IDS = ["anna-1", "anna-2", "bob-1", "cleo-1"]
TABLES = {
    "text": "anna-1 hello there\nanna-2 héllo\nbob-1 take two\ncleo-1\n",
    "utt2spk": "anna-1 anna\nanna-2 anna\nbob-1 bob\ncleo-1 cleo\n",
    "spk2utt": "anna anna-1 anna-2\nbob bob-1\ncleo cleo-1\n",
}
SEGMENTS = {
    "text": TABLES["text"],
    "utt2spk": TABLES["utt2spk"],
    "spk2utt": TABLES["spk2utt"],
    "segments": "anna-1 tape1 0 0.5\nanna-2 tape1 0.5 1.0\nbob-1 tape2 0.25 1\ncleo-1 tape2 0 0.25\n",
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A second of noise for each utterance and tape."""
    folder = tmp_path_factory.mktemp("sounds")
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    noise *= 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(16_000) / 16_000)  # else it is named as noise
    for name in [*IDS, "tape1", "tape2"]:
        soundfile.write(folder / f"{name}.wav", noise, 16_000)
    return folder


def scp(sounds: Path, names: list[str]) -> str:
    return "".join(f"{name} {sounds}/{name}.wav\n" for name in names)


def lay(folder: Path, tables: dict[str, str | None]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(text.encode())
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_bytes().decode() for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def plain(tmp_path, sounds) -> Path:
    """data: a recording for each utterance."""
    return lay(tmp_path / "data", TABLES | {"wav.scp": scp(sounds, IDS)})


@pytest.fixture
def cut(tmp_path, sounds) -> Path:
    """cut: two recordings in segments."""
    return lay(tmp_path / "cut", SEGMENTS | {"wav.scp": scp(sounds, ["tape1", "tape2"])})


def run(capsys, *argv) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in argv])
    streams = capsys.readouterr()
    return caught.value.code, streams.out, streams.err


# ---- write ----


def test_every_file_to_the_byte(tmp_path):
    """Sorted, one space between fields, no space after an empty text, absolute paths, short numbers."""
    labels = {"gender": "f", "accent": "scottish"}
    made = [
        Utterance("bob-1", "bob", "bob-1", "/audio/b 1.wav", text="take  two ", duration=2.5,
                  labels={"gender": "m", "accent": "irish", "domain": "news"}),
        Utterance("anna-2", "anna", "anna-2", "cat /audio/a.sph |", text="", duration=1 / 3, labels=labels),
        Utterance("anna-1", "anna", "anna-1", "/audio/a.wav", text="Héllo\tthere", duration=12.0,
                  labels=labels | {"domain": "small talk"}),
    ]  # fmt: skip
    write_data_directory(tmp_path / "data", made, speaker_labels=["gender", "accent", "domain"])
    assert contents(tmp_path / "data") == {
        "wav.scp": "anna-1 /audio/a.wav\nanna-2 cat /audio/a.sph |\nbob-1 /audio/b 1.wav\n",
        "text": "anna-1 Héllo there\nanna-2\nbob-1 take two\n",
        "utt2spk": "anna-1 anna\nanna-2 anna\nbob-1 bob\n",
        "spk2utt": "anna anna-1 anna-2\nbob bob-1\n",
        "utt2dur": "anna-1 12\nanna-2 0.33333\nbob-1 2.5\n",
        "spk2gender": "anna f\nbob m\n",
        "spk2accent": "anna scottish\nbob irish\n",
        "utt2domain": "anna-1 small talk\nbob-1 news\n",  # differs within anna, so it belongs to utterances
    }


def test_segments_to_the_byte(tmp_path):
    made = [
        Utterance("bob-1", "bob", "tape", "/audio/t.wav", 10.0, 13.700004, "b"),
        Utterance("anna-1", "anna", "tape", "/audio/t.wav", 0.0, 1e-2, "a"),
    ]
    write_data_directory(tmp_path / "data", made)
    assert contents(tmp_path / "data") == {
        "wav.scp": "tape /audio/t.wav\n",
        "segments": "anna-1 tape 0 0.01\nbob-1 tape 10 13.7\n",
        "text": "anna-1 a\nbob-1 b\n",
        "utt2spk": "anna-1 anna\nbob-1 bob\n",
        "spk2utt": "anna anna-1\nbob bob-1\n",
    }


def test_gender_that_kaldi_would_refuse_belongs_to_utterances(tmp_path):
    made = [
        Utterance("a-1", "a", "a-1", "/a", labels={"gender": "f"}),
        Utterance("b-1", "b", "b-1", "/b", labels={"gender": "other"}),
    ]
    write_data_directory(tmp_path / "data", made)
    assert contents(tmp_path / "data")["utt2gender"] == "a-1 f\nb-1 other\n"
    assert not (tmp_path / "data/spk2gender").exists()


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data_directory("data", [Utterance("a-1", "a", "a-1", "../sound/a.wav")])
    assert contents(tmp_path / "data")["wav.scp"] == f"a-1 {tmp_path}/../sound/a.wav\n"


ONE = Utterance("a-1", "a", "a-1", "/a.wav", text="one")


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([], "no utterances to write (the selection is empty)"),
        ([replace(ONE, id="a 1")], "utterance 'a 1': the id 'a 1' is empty, or holds a space or an "
         "unprintable character (use letters, digits, - and _)"),
        ([replace(ONE, speaker="")], "utterance 'a-1': the speaker '' is empty, or holds a space or an "
         "unprintable character (use letters, digits, - and _)"),
        ([ONE, ONE], "utterance a-1 appears twice (utterance ids are unique)"),
        ([ONE, Utterance("b-1", "b", "b-1", "/b.wav")],
         "utterance b-1 has no text, and others have (give all of them one, or none)"),
        ([ONE, replace(ONE, id="a-2", source="/b.wav")], "recording a-1 is both /a.wav and /b.wav"),
        ([ONE, replace(ONE, id="b", recording="b", source="")],
         "recording b has no audio file, and others have"),
        ([replace(ONE, source="/a\n.wav")],
         "recording a-1: wav.scp cannot hold the path '/a\\n.wav' (rename it)"),
        ([replace(ONE, labels={"dur": "x"})],
         "'dur' cannot be the name of a label: utt2dur is no label file, or another table"),
        ([replace(ONE, text="so <s> it is")], "{d}/text:1: a-1: the text holds <s>, which is a symbol of the "
         'decoding graph (correct the line, or run "ia3-speech datadir fix {d}")'),
        ([replace(ONE, id="a-1"), replace(ONE, id="a-2", speaker="0", recording="a-2")],
         "{d}/utt2spk:2: not sorted by speaker: 0 follows a (make speaker ids prefixes of utterance ids, or "
         "pass --no-spk-sort)"),
    ],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path, utterances, message):
    """And the older directory stands."""
    write_data_directory(tmp_path / "data", [replace(ONE, text="old")])
    before = contents(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        write_data_directory(tmp_path / "data", utterances)
    assert str(caught.value) == message.format(d=tmp_path / "data")
    assert contents(tmp_path / "data") == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_other_peoples_files_are_not_deleted(plain, tmp_path):
    (plain / "notes.md").write_text("mine")
    with pytest.raises(DataError, match=r"holds notes.md and is to be replaced \(give another folder"):
        write_data_directory(plain, [ONE])
    with pytest.raises(DataError, match=r"notes.md: is a file \(give another folder\)"):
        write_data_directory(plain / "notes.md", [ONE])
    assert (plain / "notes.md").read_text() == "mine"


IDENT = st.text("abcXYZ019_é", min_size=1, max_size=4)
WORDS = st.lists(st.text("abc'éß日", min_size=1, max_size=5), max_size=4).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.dictionaries(st.tuples(IDENT, IDENT), st.tuples(WORDS, st.integers(1, 10**6), IDENT),
                         min_size=1, max_size=6)
)  # fmt: skip
def test_what_is_written_is_read_again(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    made = [
        Utterance(f"{speaker}-{own}", speaker, f"{speaker}-{own}", f"{folder}/{n}.wav", text=text,
                  duration=length / 1000, labels={"accent": accent, "age": str(length)})
        for n, ((speaker, own), (text, length, accent)) in enumerate(sorted(rows.items()))
    ]  # fmt: skip
    write_data_directory(folder / "data", made, speaker_labels=["accent"], spk_sort=False)
    back = read_data_directory(folder / "data", wav=False, spk_sort=False)
    assert back.utterances == sorted(made, key=lambda u: u.id)


# ---- read ----


def test_read_plain(plain, sounds):
    data = read_data_directory(plain)
    assert data.utterances[0] == Utterance(
        "anna-1", "anna", "anna-1", f"{sounds}/anna-1.wav", text="hello there"
    )
    assert (data.utterances[3].text, len(data)) == ("", 4)
    assert {speaker: [u.id for u in own] for speaker, own in data.speakers.items()} == {
        "anna": ["anna-1", "anna-2"],
        "bob": ["bob-1"],
        "cleo": ["cleo-1"],
    }


def test_read_segments(cut, sounds):
    bob = read_data_directory(cut).utterances[2]
    assert (bob.recording, bob.source) == ("tape2", f"{sounds}/tape2.wav")
    assert (bob.start, bob.end, bob.duration) == (0.25, 1.0, 0.75)


def test_durations_of_utterances_and_recordings(plain, cut):
    lay(plain, {"reco2dur": "".join(f"{name} 1.5\n" for name in IDS)})
    assert [u.duration for u in read_data_directory(plain)] == [1.5] * 4
    lay(plain, {"utt2dur": "".join(f"{name} 2\n" for name in IDS)})
    assert [u.duration for u in read_data_directory(plain)] == [2.0] * 4
    lay(cut, {"reco2dur": "tape1 9\ntape2 9\n"})
    assert [u.duration for u in read_data_directory(cut)] == [0.5, 0.5, 0.75, 0.25]


def test_labels_of_utterances_and_speakers(plain):
    """Any utt2LABEL and spk2LABEL; the utterance's own counts; some may be without; order is free."""
    lay(plain, {
        "spk2accent": "cleo irish\nanna scottish\n",
        "utt2accent": "anna-2 welsh\n",
        "utt2consultation": "bob-1 day 1\n",
        "spk2gender": "anna f\nbob m\ncleo f\n",
        "utt2num_samples": "bob-1 16000\n",
        "utt2spk.bak": "not a table",
    })  # fmt: skip
    data = read_data_directory(plain)
    assert [u.labels for u in data] == [
        {"accent": "scottish", "gender": "f"},
        {"accent": "welsh", "gender": "f"},
        {"gender": "m", "consultation": "day 1"},
        {"accent": "irish", "gender": "f"},
    ]
    assert data.label_names == ["accent", "consultation", "gender"]
    assert data.speaker_labels == {"accent", "gender"}


@pytest.mark.parametrize(
    ("file", "label"),
    [("utt2accent", "accent"), ("spk2age-group", "age-group"), ("utt2lang", "lang"), ("spk2gender", "gender"),
     ("utt2spk", None), ("utt2dur", None), ("utt2num_frames", None), ("spk2warp", None), ("text", None),
     ("utt2a.b", None), ("utt2", None)],
)  # fmt: skip
def test_which_files_are_labels(file, label):
    assert label_of_table(file) == label


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "0x10", "1e999", "", " 1", "1,5", "١", "--1", "."])
def test_no_numbers(text):
    assert parse_number(text) is None


@pytest.mark.parametrize("text", ["1", "1.", ".5", "-2.5", "+3", "1e-2", "007"])
def test_numbers(text):
    assert NUMBER.fullmatch(text) and parse_number(text) == float(text)


# ---- refusals ----

FIX = '(run "ia3-speech datadir fix {d}")'
LINE = '(correct the line, or run "ia3-speech datadir fix {d}")'
GENDER = "anna f\nbob m\ncleo {}\n"
EACH = "anna-1 {0}\nanna-2 {0}\nbob-1 {0}\ncleo-1 {0}\n"


def refusal(folder: Path, tables: dict[str, str | None], **flags) -> str:
    """The whole message, the folder's name as {d}."""
    with pytest.raises(DataError) as caught:
        read_data_directory(lay(folder, tables), **flags)
    return str(caught.value).replace(str(folder), "{d}")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"spk2utt": None}, "{d}/spk2utt: no such file " + FIX),
        ({"utt2spk": None}, "{d}/utt2spk: no such file (write it: one line `utterance speaker` each)"),
        ({"text": None}, "{d}/text: no such file (write it: one line `utterance words` each; datadir "
         "validate --no-text does without)"),
        ({"wav.scp": None}, "{d}/wav.scp: no such file (write it: one line `recording file` each; datadir "
         "validate --no-wav does without)"),
        ({"text": ""}, "{d}/text: the file is empty"),
        ({"text": TABLES["text"].rstrip("\n")},
         "{d}/text:4: the last line does not end in a newline " + FIX),
        ({"text": TABLES["text"] + "\n"}, "{d}/text:5: the line is empty " + FIX),
        ({"text": TABLES["text"].replace("anna-2", " anna-2")},
         "{d}/text:2: the line begins with white space " + FIX + "\n{d}/utt2spk:2: utterance anna-2 is not "
         "in text " + FIX + "\n    only in utt2spk: 1 (anna-2)\n    lengths: text 3, utt2spk 4"),
        ({"text": TABLES["text"].replace("there", "the\u200bre")},
         "{d}/text:1: character U+200B ZERO WIDTH SPACE does not print " + FIX),
        ({"text": TABLES["text"].replace("there", "the\u00a0re")},
         "{d}/text:1: character U+00A0 NO-BREAK SPACE does not print " + FIX),
        ({"text": "\ufeff" + TABLES["text"]},
         "{d}/text:1: a byte-order mark, which Kaldi takes for a part of the first key " + FIX),
        ({"text": TABLES["text"].replace("héllo\n", "héllo\r\n")},
         "{d}/text:2: a carriage return: the file has Windows line ends " + FIX),
        ({"text": "anna-2 x\nanna-1 x\nbob-1 x\ncleo-1 x\n"},
         "{d}/text:2: not sorted as LC_ALL=C sort does: anna-1 follows anna-2 " + FIX),
        ({"text": TABLES["text"].replace("anna-2", "anna-1 x\nanna-2")},
         '{d}/text:2: anna-1 appears twice (first in line 1; run "ia3-speech datadir fix {d}")'),
        ({"text": TABLES["text"].replace("take", "</s>")}, "{d}/text:3: bob-1: the text holds </s>, which is "
         "a symbol of the decoding graph " + LINE),
        ({"text": TABLES["text"].replace("take", "#0")}, "{d}/text:3: bob-1: the text holds #0, which is "
         "a symbol of the decoding graph " + LINE),
        ({"text": TABLES["text"].replace("bob", "bib")},
         "{d}/text:3: utterance bib-1 is not in utt2spk " + FIX + "\n    only in text: 1 (bib-1)\n"
         "    only in utt2spk: 1 (bob-1)\n    lengths: text 4, utt2spk 4"),
        ({"text": "anna-1 x\n"},
         "{d}/utt2spk:2: utterance anna-2 is not in text " + FIX + "\n    only in utt2spk: 3 "
         "(anna-2 … cleo-1)\n    lengths: text 1, utt2spk 4"),
        ({"utt2spk": TABLES["utt2spk"].replace("cleo-1 cleo", "cleo-1 aaron"),
          "spk2utt": "aaron cleo-1\nanna anna-1 anna-2\nbob bob-1\n"},
         "{d}/utt2spk:4: not sorted by speaker: aaron follows bob (make speaker ids prefixes of utterance "
         "ids, or pass --no-spk-sort)"),
        ({"spk2utt": TABLES["spk2utt"].replace("anna-1 anna-2", "anna-2 anna-1")},
         "{d}/spk2utt:1: the utterances of anna are not in utt2spk's order " + FIX),
        ({"spk2utt": TABLES["spk2utt"].replace("anna-1 anna-2", "anna-1")},
         "{d}/utt2spk:2: utterance anna-2 is not in spk2utt " + FIX + "\n    only in utt2spk: 1 (anna-2)\n"
         "    lengths: spk2utt 1, utt2spk 2"),
        ({"spk2utt": "anna anna-1 anna-2\nbob bob-1\n"},
         "{d}/utt2spk:4: speaker cleo is not in spk2utt " + FIX + "\n    only in utt2spk: 1 (cleo)\n"
         "    lengths: spk2utt 2, utt2spk 3"),
        ({"utt2dur": EACH.format("0")}, "{d}/utt2dur:1: anna-1: 0 is not a positive number " + LINE + "\n"
         "{d}/utt2dur:2: anna-2: 0 is not a positive number " + LINE + "\n{d}/utt2dur:3: bob-1: 0 is not a "
         "positive number " + LINE + "\n{d}/utt2dur:4: cleo-1: 0 is not a positive number " + LINE),
        ({"spk2gender": GENDER.format("w")}, "{d}/spk2gender:3: cleo: the gender is w, not m or f " + LINE),
        ({"spk2gender": "anna f\nbob m\n"}, "{d}/utt2spk:4: speaker cleo is not in spk2gender " + FIX +
         "\n    only in utt2spk: 1 (cleo)\n    lengths: spk2gender 2, utt2spk 3"),
        ({"utt2lang": EACH.format("en").replace("bob-1 en", "bob-1 en gb")},
         "{d}/utt2lang:3: bob-1: 3 fields where 2 are expected " + LINE),
        ({"utt2num_frames": EACH.format("98").replace("bob-1 98", "bob-1 9.5")},
         "{d}/utt2num_frames:3: bob-1: 9.5 is not a whole number " + LINE),
        ({"utt2warp": EACH.format("1").replace("bob-1 1", "bob-1 1.5")},
         "{d}/utt2warp:3: bob-1: 1.5 is not between 0.5 and 1.5 " + LINE),
        ({"feats.scp": "anna-1 a.ark:5\n"}, "{d}/utt2spk:2: utterance anna-2 is not in feats.scp " + FIX +
         "\n    only in utt2spk: 3 (anna-2 … cleo-1)\n    lengths: feats.scp 1, utt2spk 4"),
        ({"utt2accent": "dora-1 irish\n"}, "{d}/utt2accent:1: utterance dora-1 is not in utt2spk " + FIX +
         "\n    only in utt2accent: 1 (dora-1)\n    only in utt2spk: 4 (anna-1 … cleo-1)\n"
         "    lengths: utt2accent 1, utt2spk 4"),
        ({"utt2accent": "anna-1\n"}, "{d}/utt2accent:1: anna-1: a key without a value " + LINE),
    ],
)  # fmt: skip
def test_refusals(plain, tables, message):
    assert refusal(plain, tables) == message


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"segments": SEGMENTS["segments"].replace("0.5 1.0", "1.0 0.5")},
         "{d}/segments:2: anna-2: the segment runs from 1.0 to 0.5 " + LINE),
        ({"segments": SEGMENTS["segments"].replace("0.5 1.0", "0.5 0.5")},
         "{d}/segments:2: anna-2: the segment runs from 0.5 to 0.5 " + LINE),
        ({"segments": SEGMENTS["segments"].replace("0.25 1", "0.25 1 A")},
         "{d}/segments:3: bob-1: 5 fields where 4 are expected " + LINE),
        ({"segments": SEGMENTS["segments"].replace("tape2 0.25", "tape3 0.25")},
         "{d}/segments:3: recording tape3 is not in wav.scp " + FIX + "\n    only in segments: 1 (tape3)\n"
         "    lengths: wav.scp 2, segments 3"),
        ({"segments": SEGMENTS["segments"].replace("cleo-1", "dora-1")},
         "{d}/segments:4: utterance dora-1 is not in utt2spk " + FIX + "\n    only in segments: 1 (dora-1)\n"
         "    only in utt2spk: 1 (cleo-1)\n    lengths: segments 4, utt2spk 4"),
        ({"reco2file_and_channel": "tape1 tape1 A\ntape2 tape2 C\n"},
         "{d}/reco2file_and_channel:2: tape2: the channel is C, not A or B " + LINE),
        ({"reco2dur": "tape1 1\ntape2 -1\n"},
         "{d}/reco2dur:2: tape2: -1 is not a positive number " + LINE),
        ({"wav.scp": None}, "{d}/wav.scp: no such file (segments needs it)"),
        # what Kaldi overlooks
        ({"segments": SEGMENTS["segments"].replace("0.25 1", "nan 1")},
         "{d}/segments:3: bob-1: nan is not a time in seconds " + LINE),
        ({"segments": SEGMENTS["segments"].replace("0.25 1", "0.25 one")},
         "{d}/segments:3: bob-1: one is not a time in seconds " + LINE),
        ({"segments": SEGMENTS["segments"].replace("0 0.5", "-1 0.5")},
         "{d}/segments:1: anna-1: the segment runs from -1 to 0.5 " + LINE),
    ],
)  # fmt: skip
def test_refusals_of_segments(cut, tables, message):
    assert refusal(cut, tables) == message


@pytest.mark.parametrize(
    ("file", "change", "line", "fault"),
    [
        ("utt2spk", ("bob-1 bob", "bob-1"), 3, "bob-1: 1 fields where 2 are expected"),
        ("utt2spk", ("bob-1 bob", "bob-1 bob x"), 3, "bob-1: 3 fields where 2 are expected"),
        ("wav.scp", ("bob-1 {s}/bob-1.wav", "bob-1"), 3, "bob-1: a key without a value"),
        ("wav.scp", ("bob-1 {s}/", "bob-1 ~/"), 3, "bob-1: a path that begins with ~ (write it out)"),
        ("utt2dur", ("bob-1 1", "bob-1 one"), 3, "bob-1: one is not a positive number"),
        ("utt2dur", ("bob-1 1", "bob-1 inf"), 3, "bob-1: inf is not a positive number"),
        ("utt2dur", ("bob-1 1", "bob-1 1 s"), 3, "bob-1: 3 fields where 2 are expected"),
    ],
)  # fmt: skip
def test_what_kaldi_overlooks(plain, sounds, file, change, line, fault):
    lay(plain, {"utt2dur": EACH.format("1")})
    text = (plain / file).read_text()
    changed = text.replace(change[0].format(s=sounds), change[1])
    assert changed != text
    assert refusal(plain, {file: changed}).startswith(f"{{d}}/{file}:{line}: {fault} {LINE}")


def test_ten_problems_in_words_and_the_rest_counted(plain):
    ids = [f"anna-{n:02}" for n in range(30)]
    message = refusal(plain, {
        "text": "".join(f"{name} x\n" for name in ids),
        "utt2spk": "".join(f"{name} anna\n" for name in ids),
        "spk2utt": "anna " + " ".join(ids) + "\n",
        "utt2dur": "".join(f"{name} x\n" for name in ids),
    }, wav=False)  # fmt: skip
    lines = message.splitlines()
    assert len(lines) == 11
    assert lines[0] == "{d}/utt2dur:1: anna-00: x is not a positive number " + LINE
    assert lines[-1] == "… and 21 more problems"  # 20 lines, and wav.scp that names other utterances


def test_no_utf8(plain):
    (plain / "text").write_bytes(TABLES["text"].encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_data_directory(plain)
    file = plain / "text"
    assert (
        str(caught.value)
        == f"{file}:2: not UTF-8 (convert it, for example with iconv -f LATIN1 -t UTF-8 {file})"
    )


def test_a_fault_hides_no_other_and_makes_none(plain):
    (plain / "text").write_bytes(TABLES["text"].encode("latin-1"))
    (plain / "utt2spk").write_text(TABLES["utt2spk"].replace("bob-1 bob", "bob-1"))
    with pytest.raises(DataError) as caught:
        read_data_directory(plain)
    said = [line.removeprefix(f"{plain}/").partition(" (")[0] for line in str(caught.value).splitlines()]
    assert said == ["text:2: not UTF-8", "utt2spk:3: bob-1: 1 fields where 2 are expected"]


def test_a_table_that_is_no_file(plain):
    (plain / "utt2dur").mkdir()
    assert refusal(plain, {}) == "{d}/utt2dur: is a folder, where a table is expected (remove it)"
    (plain / "utt2dur").rmdir()
    (plain / "utt2dur").symlink_to("gone")
    assert refusal(plain, {}) == "{d}/utt2dur: is a broken link, where a table is expected (remove it)"


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder \(a data directory holds wav.scp, text, "):
        read_data_directory(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "tables",
    [
        {"text": TABLES["text"].replace("there", "می\u200cخواهم क्\u200dष <s>x x#0 a</s>b <unk>")},
        {"text": TABLES["text"].replace(" ", "\t")},
        {"utt2dur": EACH.format("1e-1"), "utt2warp": EACH.format("0.9"), "utt2uniq": EACH.format("a b")},
        {"spk2gender": GENDER.format("m"), "vad.scp": EACH.format("v.ark:1"), "utt2lang": EACH.format("en")},
        {"reco2file_and_channel": EACH.format("x 1"), "feats.scp": EACH.format("copy-feats x |")},
    ],
)
def test_what_is_allowed(plain, tables):
    assert len(read_data_directory(lay(plain, tables))) == 4


# ---- flags ----


def test_no_text(plain, capsys):
    lay(plain, {"text": None})
    assert run(capsys, "validate", plain)[0] == 1
    code, out, err = run(capsys, "validate", "--no-text", plain)
    assert (code, err) == (0, "")
    assert out == f"Successfully validated data-directory {plain}: 4 utterances, 3 speakers\n"
    assert read_data_directory(plain, text=False).utterances[0].text is None


def test_no_wav(plain, capsys):
    lay(plain, {"wav.scp": None})
    assert run(capsys, "validate", plain)[0] == 1
    assert run(capsys, "validate", "--no-wav", plain)[0] == 0
    assert read_data_directory(plain, wav=False).utterances[0].source == ""


def test_no_wav_looks_for_no_files(plain):
    lay(plain, {"wav.scp": EACH.format("gone.wav")})
    assert [u.source for u in read_data_directory(plain, wav=False)] == ["gone.wav"] * 4


def test_no_spk_sort(plain, capsys):
    lay(plain, {"utt2spk": "anna-1 z\nanna-2 z\nbob-1 b\ncleo-1 a\n",
                "spk2utt": "a cleo-1\nb bob-1\nz anna-1 anna-2\n"})  # fmt: skip
    assert run(capsys, "validate", plain)[0] == 1
    assert run(capsys, "validate", "--no-spk-sort", plain)[0] == 0


def test_one_speaker_only_warns(plain, capsys, caplog):
    lay(plain, {"utt2spk": EACH.format("anna"), "spk2utt": f"anna {' '.join(IDS)}\n"})
    assert run(capsys, "validate", plain)[0] == 0
    assert caplog.messages == [
        f"{plain}: only one speaker (fine for speaker adaptation; otherwise probably a mistake)"
    ]


def test_validate_opens_audio_only_when_asked(plain, sounds, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    lay(plain, {"wav.scp": scp(sounds, IDS).replace(f"{sounds}/bob-1.wav", str(broken))})
    assert run(capsys, "validate", plain)[0] == 0
    code, out, err = run(capsys, "validate", "--check-audio", plain)
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "error: 1 utterance has unusable or damaged audio:",
        f"  bob-1: {broken}: is not audio that libsndfile reads: Format not recognised "
        "(convert it to wav, flac, ogg or mp3)",
        "Repair these files, or leave them out: for good by deleting their lines in wav.scp and running fix; "
        "for one run by --on-error skip, where a command has it.",
    ]


def test_clipped_audio_is_valid_and_named(plain, sounds, tmp_path, capsys, caplog):
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, np.sign(np.sin(np.arange(16000.0))), 16000)
    lay(plain, {"wav.scp": scp(sounds, IDS).replace(f"{sounds}/bob-1.wav", str(loud))})
    assert run(capsys, "validate", "--check-audio", plain)[0] == 0
    [said] = caplog.messages
    first, second = said.splitlines()
    assert first == f"{plain}: 1 utterance has clipped, silent or noisy audio, which is used all the same:"
    assert second.startswith(f"  bob-1: {loud}: clipped (")


def test_a_segment_outside_its_recording(cut, capsys):
    lay(cut, {"segments": SEGMENTS["segments"].replace("0.25 1\n", "0.25 3\n")})
    assert run(capsys, "validate", cut)[0] == 0
    err = run(capsys, "validate", "--check-audio", cut)[2]
    assert "bob-1: " in err and "the segment from 0.25 to 3.00 s is not inside the recording" in err


def test_pipes_only_where_allowed(plain, tmp_path, sounds, capsys):
    """And then they run only if the audio is read."""
    lay(plain, {"wav.scp": "".join(
        f"{name} touch {tmp_path}/ran; cat {sounds}/{name}.wav |\n" for name in IDS)})  # fmt: skip
    assert refusal(plain, {}) == (
        "{d}/wav.scp:1: anna-1 is a shell command, one of 4 (pass --allow-pipes if you trust this file: "
        "reading the audio runs them)"
    )
    assert run(capsys, "validate", "--check-audio", plain)[0] == 1
    assert run(capsys, "validate", "--allow-pipes", plain)[0] == 0
    assert not (tmp_path / "ran").exists()
    assert run(capsys, "validate", "--allow-pipes", "--check-audio", plain)[0] == 0
    assert (tmp_path / "ran").exists()


# ---- where the sound is ----


@pytest.mark.parametrize("place", [".", "corpus", "corpus/train"])
def test_a_relative_path_is_found_in_three_places(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    for name in IDS:
        (tmp_path / place / "wav").mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f"wav/{name}.wav").touch()
    lay(tmp_path / "corpus/train", TABLES | {"wav.scp": "".join(f"{name} wav/{name}.wav\n" for name in IDS)})
    found = read_data_directory("corpus/train").utterances[0].source
    assert Path(found).is_absolute() and Path(found) == (tmp_path / place / "wav/anna-1.wav")


def test_the_working_directory_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", "corpus", "corpus/train"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "a.wav").touch()
    lay(tmp_path / "corpus/train", TABLES | {"wav.scp": EACH.format("a.wav")})
    assert read_data_directory("corpus/train").utterances[0].source == str(tmp_path / "a.wav")
    (tmp_path / "a.wav").unlink()
    assert read_data_directory("corpus/train").utterances[0].source == str(tmp_path / "corpus/a.wav")


def test_the_error_lists_all_three_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "corpus/train", TABLES | {"wav.scp": EACH.format("wav/a.wav")})
    with pytest.raises(DataError) as caught:
        read_data_directory("corpus/train")
    assert str(caught.value) == (
        f"corpus/train/wav.scp:1: no such file: wav/a.wav, one of 4 missing; tried {tmp_path}/wav/a.wav, "
        f"{tmp_path}/corpus/wav/a.wav, {tmp_path}/corpus/train/wav/a.wav (correct wav.scp, or run "
        f'"ia3-speech datadir fix corpus/train" to drop them)\n'
        "corpus/train/wav.scp:2: no such file: wav/a.wav\n"
        "corpus/train/wav.scp:3: no such file: wav/a.wav\n"
        "corpus/train/wav.scp:4: no such file: wav/a.wav"
    )


def test_an_absolute_path_is_looked_for_once(plain):
    assert "tried /gone.wav (correct" in refusal(plain, {"wav.scp": EACH.format("/gone.wav")})


def test_dots_follow_links(tmp_path, monkeypatch):
    """`..` means what it means to the system, where the data directory is a link too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk/data").mkdir(parents=True)
    (tmp_path / "disk/a.wav").touch()
    (tmp_path / "data").symlink_to(tmp_path / "disk/data")
    lay(tmp_path / "data", TABLES | {"wav.scp": EACH.format("../a.wav")})
    assert Path(read_data_directory("data").utterances[0].source).samefile(tmp_path / "disk/a.wav")


# ---- fix ----


def test_fix_to_the_byte(plain, sounds, capsys):
    """Windows, BOM, disorder, duplicates, malformed lines, ids that only some tables know, a lost file."""
    lay(plain, {
        "text": "\ufeffbob-1 take\u00a0two\r\nanna-2  héllo \r\nanna-1 a\u200b <s> b\r\nanna-1 again\r\n"
                "dora-1 x\r\ncleo-1",
        "utt2spk": "bob-1\tbob\nanna-1 anna\nanna-2 anna\n\neve-1\nfred-1 fred x\ncleo-1 cleo\nzoe-1 zoe\n",
        "wav.scp": f"anna-1 {sounds}/anna-1.wav\nanna-2 {sounds}/anna-2.wav\nbob-1 {sounds}/bob-1.wav\n"
                   "cleo-1 gone.wav\nzoe-1 gone.wav\n",
        "utt2dur": "anna-1 1\nanna-2 1\nbob-1 one\n",
        "utt2accent": "anna-1 irish\ncleo-1 irish\n",
        "spk2gender": "anna f\nbob m\ncleo f\n",
    })  # fmt: skip
    before = contents(plain)
    code, out, err = run(capsys, "fix", plain)
    assert (code, err) == (0, "")
    assert out.replace(str(plain), "{d}").splitlines() == [
        "{d}/text:4: anna-1: appears twice (1 line dropped)",
        "{d}/utt2dur:3: bob-1: one is not a positive number (1 line dropped)",
        "{d}/utt2spk:5: eve-1: 1 fields where 2 are expected (2 lines dropped)",
        "{d}/wav.scp: cleo-1: no such file, or its path does not print: gone.wav (2 recordings dropped)",
        "{d}: zoe-1: not in text (1 utterance dropped)",
        "{d}: cleo-1: not in wav.scp (1 utterance dropped)",
        "{d}/utt2dur: removed: it names 2 of 3",
        "the originals of spk2gender, spk2utt, text, utt2accent, utt2dur, utt2spk, wav.scp are in "
        "{d}/.backup",
        "kept 3 utterances out of 7",
    ]
    assert contents(plain) == {
        "text": "anna-1 a b\nanna-2 héllo\nbob-1 take two\n",
        "utt2spk": "anna-1 anna\nanna-2 anna\nbob-1 bob\n",
        "spk2utt": "anna anna-1 anna-2\nbob bob-1\n",
        "wav.scp": scp(sounds, IDS[:3]),
        "utt2accent": "anna-1 irish\n",
        "spk2gender": "anna f\nbob m\n",
    }
    assert contents(plain / ".backup") == before
    assert len(read_data_directory(plain)) == 3
    assert run(capsys, "fix", plain) == (0, "kept 3 utterances out of 3\n", "")
    assert contents(plain / ".backup") == before


def test_fix_segments(cut, sounds):
    """An utterance goes with its recording, a recording with its last utterance."""
    lay(cut, {"segments": SEGMENTS["segments"].replace("0 0.5", "0.5 0"),
              "wav.scp": f"tape1 {sounds}/tape1.wav\ntape2 gone.wav\ntape3 {sounds}/tape1.wav\n",
              "reco2dur": "tape1 1\ntape2 1\n"})  # fmt: skip
    done = fix_data_directory(cut)
    assert (done.kept, done.out_of) == (1, 4)
    assert contents(cut) == {
        "text": "anna-2 héllo\n",
        "utt2spk": "anna-2 anna\n",
        "spk2utt": "anna anna-2\n",
        "segments": "anna-2 tape1 0.5 1.0\n",
        "wav.scp": f"tape1 {sounds}/tape1.wav\n",
        "reco2dur": "tape1 1\n",
    }


def test_fix_derives_spk2utt_and_touches_nothing_else(plain):
    lay(plain, {"spk2utt": None})
    assert fix_data_directory(plain).changed == ["spk2utt"]
    assert contents(plain)["spk2utt"] == TABLES["spk2utt"]
    assert not (plain / ".backup").exists()


def test_fix_elsewhere(plain, tmp_path):
    lay(plain, {"text": TABLES["text"].replace("cleo-1", "dora-1")})
    before = contents(plain)
    assert str(fix_data_directory(plain, tmp_path / "fixed")).endswith("kept 3 utterances out of 4")
    assert contents(plain) == before and not (plain / ".backup").exists()
    assert [u.id for u in read_data_directory(tmp_path / "fixed")] == IDS[:3]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"utt2spk": None},
         "{d}/utt2spk: no such file (write it: one line `utterance speaker` for each utterance)"),
        ({"text": "x y\n"}, "{d}: anna-1: not in text (4 utterances dropped)\n{d}: no utterance would "
         "be left, so nothing was changed (do the tables use the same ids, and is the audio there?)"),
    ],
)  # fmt: skip
def test_fix_refuses_and_changes_nothing(plain, tables, message):
    before = contents(lay(plain, tables))
    with pytest.raises(DataError) as caught:
        fix_data_directory(plain)
    assert str(caught.value).replace(str(plain), "{d}") == message
    assert contents(plain) == before and not (plain / ".backup").exists()


def test_fix_says_what_it_cannot_repair(plain):
    lay(plain, {"utt2spk": "anna-1 z\nanna-2 z\nbob-1 b\ncleo-1 a\n"})
    assert (
        fix_data_directory(plain)
        .notes[-1]
        .startswith(f"{plain}/utt2spk:3: not sorted by speaker: b follows z")
    )
    assert len(read_data_directory(plain, spk_sort=False)) == 4


def test_fix_goes_on_after_a_kill(plain, monkeypatch):
    """A run that ended in the middle leaves the originals in .backup, and the next one ends the work."""
    lay(
        plain,
        {"text": TABLES["text"].replace("\n", "\r\n"), "utt2spk": "bob-1 bob\nanna-2 anna\nanna-1 anna\n"},
    )
    before = contents(plain)
    write_text = datadir.repair.atomic.write_text

    def killed(path, text):
        if path == plain / "utt2spk":
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(datadir.repair.atomic, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        fix_data_directory(plain)
    monkeypatch.undo()
    assert contents(plain)["text"] == TABLES["text"].replace("cleo-1\n", "")  # done already
    fix_data_directory(plain)
    assert [u.id for u in read_data_directory(plain)] == IDS[:3]
    assert contents(plain / ".backup") == {
        name: before[name] for name in ("spk2utt", "text", "utt2spk", "wav.scp")
    }


# ---- subset ----


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["--first", "2"], ["anna-1", "anna-2"]),
        (["--last", "2"], ["bob-1", "cleo-1"]),
        (["--shortest", "2"], ["anna-2", "cleo-1"]),
        (["--per-spk", "1"], ["anna-1", "bob-1", "cleo-1"]),
        (["--speakers", "2"], ["anna-1", "anna-2"]),
        (["--speakers", "3"], ["anna-1", "anna-2", "bob-1"]),
        (["--minutes", "0.07"], ["anna-1", "cleo-1"]),
        (["--spk-list", "list"], ["anna-1", "anna-2", "cleo-1"]),
        (["--utt-list", "list"], ["bob-1"]),
    ],
)
def test_subset(plain, tmp_path, capsys, caplog, flags, kept):
    lay(plain, {"utt2dur": "anna-1 3\nanna-2 1\nbob-1 2.5\ncleo-1 2\n", "utt2accent": "bob-1 irish\n"})
    (tmp_path / "list").write_text("cleo ignored\n\nanna\nbob-1 x\nzoe\n")
    flags = [str(tmp_path / word) if word == "list" else word for word in flags]
    code, out, err = run(capsys, "subset", plain, tmp_path / "part", *flags)
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path}/part: {len(kept)} utterance")
    part = read_data_directory(tmp_path / "part")
    assert part.utterances == [u for u in read_data_directory(plain) if u.id in kept]
    if "list" in flags[1]:
        assert "ids are not in" in caplog.text and "(such as " in caplog.text


def test_subset_of_each_speaker_is_evenly_spread(plain, tmp_path):
    """Kaldi: every third of ten for three, and of seven for two."""
    ids = [f"a-{n}" for n in range(10)] + [f"b-{n}" for n in range(7)] + ["c-0"]
    lay(plain, {"text": "".join(f"{i} x\n" for i in ids), "utt2spk": "".join(f"{i} {i[0]}\n" for i in ids),
                "spk2utt": "", "wav.scp": None})  # fmt: skip
    fix_data_directory(plain)
    part = subset_data_directory(plain, tmp_path / "part", per_spk=3)
    assert [u.id for u in part] == ["a-0", "a-3", "a-6", "b-0", "b-2", "b-4", "c-0"]


def test_more_minutes_hold_what_fewer_do(many, tmp_path):
    parts = [
        subset_data_directory(many, tmp_path / f"{minutes}", minutes=minutes) for minutes in (0.05, 0.1, 0.2)
    ]
    ids = [{utterance.id for utterance in part} for part in parts]
    assert ids[0] < ids[1] < ids[2]
    for minutes, part in zip((0.05, 0.1, 0.2), parts, strict=True):
        seconds = [utterance.duration for utterance in part]
        assert sum(seconds) - max(seconds) < 60 * minutes <= sum(seconds)
    assert len(parts[1].speakers) > 1


def test_shortest_by_segments_and_by_headers(cut, plain, tmp_path, sounds):
    assert [u.id for u in subset_data_directory(cut, tmp_path / "part", shortest=1)] == ["cleo-1"]
    soundfile.write(tmp_path / "short.wav", np.zeros(99), 16_000)
    lay(plain, {"wav.scp": scp(sounds, IDS).replace(f"{sounds}/bob-1.wav", f"{tmp_path}/short.wav")})
    assert [u.id for u in subset_data_directory(plain, tmp_path / "part", shortest=1)] == ["bob-1"]


def test_subset_of_segments_keeps_the_recordings_it_needs(cut, tmp_path, sounds):
    subset_data_directory(cut, tmp_path / "part", last=2)
    assert contents(tmp_path / "part")["wav.scp"] == scp(sounds, ["tape2"])
    assert contents(tmp_path / "part")["segments"] == "bob-1 tape2 0.25 1\ncleo-1 tape2 0 0.25\n"


def test_subset_in_kaldis_order_of_words(plain, tmp_path, capsys):
    assert run(capsys, "subset", "--first", plain, "3", tmp_path / "part")[0] == 0
    assert len(read_data_directory(tmp_path / "part")) == 3
    unchanged = ["subset", "--first", "3", "data", "part"]
    assert kaldi_order(unchanged) == unchanged


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "a subset is chosen by exactly one of --first, --last, --shortest, --per-spk, --speakers, "
             "--minutes, --spk-list, --utt-list (0 given)"),
        (["--first", "1", "--last", "1"], "(2 given)"),
        (["--first", "5"], "{d}: --first 5: the directory has 4 utterances"),
        (["--last", "0"], "{d}: --last 0: the directory has 4 utterances"),
        (["--per-spk", "-1"], "{d}: --per-spk -1: the directory has 4 utterances"),
        (["--minutes", "9"], "{d}: --minutes 9: the directory holds 0.1 minutes"),
        (["--minutes", "0"], "{d}: --minutes 0: the directory holds 0.1 minutes"),
        (["--utt-list", "/dev/null"],
         "{d}: nothing is left (does /dev/null name utt ids of this directory?)"),
        (["--utt-list", "/gone"], "/gone: cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_subset_errors(plain, tmp_path, capsys, flags, message):
    code, out, err = run(capsys, "subset", plain, tmp_path / "part", *flags)
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and err.endswith(message.format(d=plain) + "\n")
    assert not (tmp_path / "part").exists()


def test_a_directory_is_not_written_over_its_source(plain, tmp_path, capsys):
    (tmp_path / "link").symlink_to(plain)
    before = contents(plain)
    for words in (("subset", plain, tmp_path / "link", "--first", "1"),
                  ("split", plain, tmp_path / "link", tmp_path / "dev"),
                  ("split", plain, tmp_path / "dev", tmp_path / "dev")):  # fmt: skip
        code, _, err = run(capsys, *words)
        assert code == 1 and "source and targets must be different folders" in err
    assert contents(plain) == before


# ---- split ----


@pytest.fixture
def many(tmp_path) -> Path:
    """20 speakers with 3 utterances each, in 6 consultations."""
    made = [
        Utterance(f"s{s:02}-{n}", f"s{s:02}", f"s{s:02}-{n}", f"{tmp_path}/x.wav", text=f"Sentence {n}.",
                  duration=1.0, labels={"consultation": f"day{s % 6}"})
        for s in range(20) for n in range(3)
    ]  # fmt: skip
    (tmp_path / "x.wav").touch()
    write_data_directory(tmp_path / "many", made)
    return tmp_path / "many"


@pytest.mark.parametrize(
    ("by", "fraction", "taken"),
    [("speaker", 0.15, 9), ("speaker", 0.99, 57), ("speaker", 0.001, 3), ("consultation", 0.3, None),
     ("text", 0.34, 20), ("recording", 0.1, 6)],
)  # fmt: skip
def test_split(many, tmp_path, capsys, by, fraction, taken):
    code, out, _ = run(
        capsys, "split", many, tmp_path / "a", tmp_path / "b", "--by", by, "--fraction", fraction
    )
    assert code == 0
    rest, part, whole = (
        read_data_directory(tmp_path / "a"),
        read_data_directory(tmp_path / "b"),
        read_data_directory(many),
    )
    assert sorted(rest.utterances + part.utterances, key=lambda u: u.id) == whole.utterances
    value = {"speaker": lambda u: u.speaker, "text": lambda u: u.text, "recording": lambda u: u.recording,
             "consultation": lambda u: u.labels["consultation"]}[by]  # fmt: skip
    assert not {value(u) for u in rest} & {value(u) for u in part}
    assert len(part) == taken or (taken is None and len({value(u) for u in part}) == 2)
    assert out.splitlines()[1].startswith(f"{tmp_path}/b: {len(part)} utterances, ")


def test_the_same_speakers_always_fall_alike(many, tmp_path):
    """The order is a hash's of their names: speakers who leave the corpus move nobody to the test side."""
    part = split_data_directory(many, tmp_path / "a", tmp_path / "b", fraction=0.25)[1]
    assert sorted(part.speakers) == ["s07", "s08", "s11", "s13", "s15"]
    (tmp_path / "list").write_text("\n".join([*part.speakers, "s01", "s02", "s03"]))
    subset_data_directory(many, tmp_path / "few", spk_list=tmp_path / "list")
    again = split_data_directory(tmp_path / "few", tmp_path / "a", tmp_path / "b", fraction=0.5)[1]
    assert set(again.speakers) < set(part.speakers) and len(again.speakers) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--by", "accent"], "{d}: utterance s00-0 has no accent (split by one of speaker, recording, text, "
                             "consultation)"),
        (["--fraction", "1"], "--fraction 1.0: not between 0 and 1"),
    ],
)  # fmt: skip
def test_split_errors(many, tmp_path, capsys, flags, message):
    code, _, err = run(capsys, "split", many, tmp_path / "a", tmp_path / "b", *flags)
    assert (code, err) == (1, f"error: {message.format(d=many)}\n")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_a_split_replaces_nothing_where_it_can_not_write_both(many, tmp_path):
    split_data_directory(many, tmp_path / "a", tmp_path / "b", fraction=0.25)
    before = (tmp_path / "a/text").read_text()
    (tmp_path / "b/notes").touch()
    with pytest.raises(DataError, match=r"b: holds notes and is to be replaced"):
        split_data_directory(many, tmp_path / "a", tmp_path / "b", fraction=0.5)
    assert (tmp_path / "a/text").read_text() == before


def test_one_group_is_no_split(many, tmp_path):
    subset_data_directory(many, tmp_path / "one", first=3)
    with pytest.raises(DataError, match=r"only one speaker \(s00\), so no split \(divide by another label\)"):
        split_data_directory(tmp_path / "one", tmp_path / "a", tmp_path / "b")


# ---- the command ----


def test_the_command_as_a_process(plain, tmp_path):
    """`ia3-speech datadir`: its exit codes, and a message without a traceback."""
    command = [sys.executable, "-m", "ia3_speech.datadir"]
    done = subprocess.run([*command, "validate", "--check-audio", plain], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Successfully validated data-directory {plain}: 4 utterances, 3 speakers\n"
    (plain / "spk2utt").unlink()
    done = subprocess.run([*command, "validate", plain], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {refusal(plain, {}).format(d=plain)}\n"


def test_a_folder_whose_name_is_not_utf8(plain, tmp_path):
    """A path that cannot be written into wav.scp is as good as none."""
    odd = tmp_path / "d\udcff"
    shutil.copytree(plain, odd)
    (odd / "a.wav").touch()
    lay(odd, {"wav.scp": EACH.format("a.wav")})
    command = [sys.executable, "-m", "ia3_speech.datadir", "fix", "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=odd)
    assert (done.returncode, done.stdout) == (1, "")
    first = "error: wav.scp: anna-1: no such file, or its path does not print: a.wav (4 recordings dropped)"
    assert done.stderr.splitlines()[0] == first


def test_help_is_for_people(capsys):
    code, out, _ = run(capsys, "validate", "--help")
    assert code == 0
    assert "usage: python -m ia3_speech.datadir validate [--no-text]" in out
    assert "  --check-audio  decode all audio as well.\n" in out
    assert "{true,false}" not in out and "type:" not in out and "config" not in out


def test_api_raises_for_audio(plain):
    lay(plain, {"wav.scp": EACH.format("/dev/null")})
    with pytest.raises(AudioError, match="4 utterances have unusable or damaged audio"):
        validate_data_directory(plain, check_audio=True)


def test_real_directories(shared_data):
    notes = validate_data_directory(shared_data / "medical_notes/test")
    assert (len(notes), len(notes.speakers), notes.label_names) == (211, 6, ["consultation"])
    assert read_data_directory(shared_data / "english_mix").utterances[0].duration > 0
