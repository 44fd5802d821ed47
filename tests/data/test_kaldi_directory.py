"""Data directories: every file to the byte, refusals by line, fix, split and their command."""

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_files import contents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia3_speech.common.errors import DataError, UserError
from ia3_speech.data import kaldi as datadir
from ia3_speech.data.kaldi.directory import (
    read_available_tables,
    read_data_directory,
    split_data_directory,
    write_data_directory,
)
from ia3_speech.data.kaldi.validation import fix_data_directory
from ia3_speech.data.utterance import Utterance

IDS = ["anna-1", "anna-2", "bob-1", "cleo-1"]
TABLES = {
    "text": "anna-1 hello there\nanna-2 héllo\nbob-1 take two\ncleo-1\n",
    "utt2spk": "anna-1 anna\nanna-2 anna\nbob-1 bob\ncleo-1 cleo\n",
    "spk2utt": "anna anna-1 anna-2\nbob bob-1\ncleo cleo-1\n",
}
SEGMENTS = TABLES | {
    "segments": "anna-1 tape1 0 0.5\nanna-2 tape1 0.5 1.0\nbob-1 tape2 0.25 1\ncleo-1 tape2 0 0.25\n"
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A second of noise for each utterance and tape."""
    folder = tmp_path_factory.mktemp("sounds")
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
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


@pytest.fixture
def plain(tmp_path, sounds) -> Path:
    """data: a recording for each utterance."""
    return lay(tmp_path / "data", TABLES | {"wav.scp": scp(sounds, IDS)})


@pytest.fixture
def cut(tmp_path, sounds) -> Path:
    """cut: two recordings in segments."""
    return lay(tmp_path / "cut", SEGMENTS | {"wav.scp": scp(sounds, ["tape1", "tape2"])})


def test_every_file_to_the_byte(tmp_path):
    """Sorted, one space between fields, no space after an empty text, absolute paths, short numbers."""
    labels = {"gender": "f", "accent": "scottish"}
    utterances = [
        Utterance("bob-1", "bob", "bob-1", "/audio/b 1.wav", text="take  two ", duration=2.5,
                  labels={"gender": "m", "accent": "irish", "domain": "news"}),
        Utterance("anna-2", "anna", "anna-2", "cat /audio/a.sph |", text="", duration=1 / 3, labels=labels),
        Utterance("anna-1", "anna", "anna-1", "/audio/a.wav", text="Héllo\tthere", duration=12.0,
                  labels=labels | {"domain": "small talk"}),
    ]  # fmt: skip
    write_data_directory(tmp_path / "data", utterances, speaker_labels=["gender", "accent", "domain"])
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


ONE = Utterance("a-1", "a", "a-1", "/a.wav", text="one")


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([ONE, ONE], "utterance a-1 appears twice"),
        ([ONE, Utterance("b-1", "b", "b-1", "/b.wav")], "{d}/utt2spk:2: utterance b-1 is not in text"),
        ([replace(ONE, source="/a\n.wav")], "recording a-1: wav.scp cannot hold the path '/a\\n.wav'"),
        ([replace(ONE, text="so <s> it is")], "{d}/text:1: a-1: 'so <s> it is' is not a text"),
    ],
)
def test_faults_leave_the_older_directory(tmp_path, utterances, message):
    write_data_directory(tmp_path / "data", [replace(ONE, text="old")])
    before = contents(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        write_data_directory(tmp_path / "data", utterances)
    assert message.format(d=tmp_path / "data") in str(caught.value)
    assert contents(tmp_path / "data") == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_segments_and_a_gender_that_kaldi_would_refuse_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    utterances = [
        Utterance("bob-1", "bob", "tape", "../t.wav", 10.0, 13.700004, "b", labels={"gender": "other"}),
        Utterance("anna-1", "anna", "tape", "../t.wav", 0.0, 1e-2, "a", labels={"gender": "f"}),
    ]
    write_data_directory("data", utterances)
    assert contents(tmp_path / "data") == {
        "wav.scp": f"tape {tmp_path}/../t.wav\n",
        "segments": "anna-1 tape 0 0.01\nbob-1 tape 10 13.7\n",
        "text": "anna-1 a\nbob-1 b\n",
        "utt2spk": "anna-1 anna\nbob-1 bob\n",
        "spk2utt": "anna anna-1\nbob bob-1\n",
        "utt2gender": "anna-1 f\nbob-1 other\n",
    }
    Path("data/notes.md").write_text("mine")
    with pytest.raises(DataError, match="so it is not replaced"):
        write_data_directory("data", utterances)


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
    assert data.speaker_labels == {"accent", "gender"}


EACH = "anna-1 {0}\nanna-2 {0}\nbob-1 {0}\ncleo-1 {0}\n"
FIX = '(run "ia3-speech datadir fix {d}")'


def refusal(folder: Path, tables: dict[str, str | None], **flags) -> str:
    """The whole message, the folder's name as {d}."""
    with pytest.raises(DataError) as caught:
        read_data_directory(lay(folder, tables), **flags)
    return str(caught.value).replace(str(folder), "{d}")


TEXT, UTT2SPK, SPK2UTT = TABLES["text"], TABLES["utt2spk"], TABLES["spk2utt"]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"text": TEXT.rstrip("\n")}, "{d}/text:4: the last line does not end in a newline " + FIX),
        ({"text": TEXT.replace("anna-2", " anna-2")}, "{d}/text:2: the line is empty, or begins with white"),
        ({"text": TEXT.replace("\n", "\r\n")}, "{d}/text:1: a carriage return: the file has Windows"),
        ({"text": "anna-2 x\nanna-1 x\nbob-1 x\ncleo-1 x\n"}, "{d}/text:2: not sorted as LC_ALL=C sort does"),
        ({"text": TEXT.replace("take", "</s>")}, "{d}/text:3: bob-1: '</s> two' is not a text, without <s>"),
        ({"text": TEXT.replace("bob", "bib")}, "{d}/text:3: utterance bib-1 is not in utt2spk"),
        ({"spk2utt": SPK2UTT.replace("anna-1 anna-2", "anna-2 anna-1")},
         "{d}/spk2utt:1: the utterances of anna differ"),
        ({"utt2dur": "".join(f"anna-{n:02} x\n" for n in range(30))},
         "{d}/utt2dur:1: anna-00: 'x' is not a positive number"),
        # Kaldi and ESPnet may keep the audio of a whole set in one file.
        ({"wav.scp": EACH.format("/data/wav.ark:42")},
         "{d}/wav.scp:1: 4 recordings are missing: /data/wav.ark:42, "),
    ],
)  # fmt: skip
def test_refusals(plain, tables, message):
    """By file, line and hint; a fault makes no other, and the first ten are listed."""
    lines = refusal(plain, tables)
    assert lines.startswith(message) and len(lines.splitlines()) <= 10
    assert ("and 20 more" in lines) == ("utt2dur" in tables)
    assert ("audio inside a Kaldi archive is not read" in lines) == ("ark" in message)


def test_pipes_only_where_allowed(plain, tmp_path, sounds, run_command):
    """And then they run only if the audio is read."""
    pipe = "{0} touch {1}/ran; cat {2}/{0}.wav |\n"
    lay(plain, {"wav.scp": "".join(pipe.format(name, tmp_path, sounds) for name in IDS)})
    assert refusal(plain, {}).startswith("{d}/wav.scp:1: anna-1 is a shell command, one of 4 (pass `allow_pi")
    assert run_command("datadir", "validate", "--check-audio", plain)[0] == 1
    assert run_command("datadir", "validate", "--allow-pipes", plain)[0] == 0
    assert not (tmp_path / "ran").exists()
    assert run_command("datadir", "validate", "--allow-pipes", "--check-audio", plain)[0] == 0
    assert (tmp_path / "ran").exists()


def test_a_relative_path_is_looked_for_in_three_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "my corpus/train", TABLES | {"wav.scp": EACH.format("wav/a.wav")})
    with pytest.raises(DataError, match=r"train/wav\.scp:1: 4 recordings are missing: wav/a\.wav"):
        read_data_directory("my corpus/train")
    alone = TABLES | {"wav.scp": f"anna-1 gone.wav\n{EACH.format(__file__).partition(chr(10))[2]}"}
    with pytest.raises(DataError, match=r"scp:1: 1 recording is missing: gone\.wav; tried /"):
        read_data_directory(lay(tmp_path / "alone", alone))
    for place in ("my corpus/train", "my corpus", "."):
        (tmp_path / place / "wav").mkdir()
        (tmp_path / place / "wav/a.wav").touch()
        source = read_data_directory("my corpus/train").utterances[0].source
        assert source == str(tmp_path / place / "wav/a.wav")


def test_fix_to_the_byte(plain, sounds, run_command):
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
    code, out, err = run_command("datadir", "fix", plain)
    assert (code, err) == (0, "")
    assert f"{plain}/text:4: anna-1: appears twice" in out and "kept 3 utterances out of 7" in out
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
    assert run_command("datadir", "fix", plain) == (0, "kept 3 utterances out of 3\n", "")
    assert contents(plain / ".backup") == before


def test_fix_goes_on_after_a_kill(plain, monkeypatch):
    """A run that ended in the middle leaves the originals in .backup, and the next one ends the work."""
    utt2spk = "bob-1 bob\nanna-2 anna\nanna-1 anna\n"
    lay(plain, {"text": TABLES["text"].replace("\n", "\r\n"), "utt2spk": utt2spk})
    before = contents(plain)
    write_text = datadir.validation.atomic.write_text

    def killed(path, text):
        if path == plain / "utt2spk":
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(datadir.validation.atomic, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            fix_data_directory(plain)
    assert contents(plain)["text"] == TABLES["text"].replace("cleo-1\n", "")  # done already
    fix_data_directory(plain)
    assert [u.id for u in read_data_directory(plain)] == IDS[:3]
    changed = ("spk2utt", "text", "utt2spk", "wav.scp")
    assert contents(plain / ".backup") == {name: before[name] for name in changed}


@pytest.fixture
def many(tmp_path) -> Path:
    """20 speakers with 3 utterances each, in 6 consultations."""
    utterances = [
        Utterance(f"s{s:02}-{n}", f"s{s:02}", f"s{s:02}-{n}", f"{tmp_path}/x.wav", text=f"Sentence {n}.",
                  duration=1.0, labels={"consultation": f"day{s % 6}"})
        for s in range(20) for n in range(3)
    ]  # fmt: skip
    (tmp_path / "x.wav").touch()
    write_data_directory(tmp_path / "many", utterances)
    return tmp_path / "many"


@pytest.mark.parametrize(
    ("by", "fraction", "taken"), [("speaker", 0.15, 9), ("consultation", 0.3, 18), ("text", 0.34, 20)]
)
def test_split(many, tmp_path, run_command, by, fraction, taken):
    words = ("split", many, tmp_path / "a", tmp_path / "b", "--by", by, "--fraction", fraction)
    code, out, _ = run_command("datadir", *words)
    assert code == 0
    rest, part, whole = map(read_data_directory, (tmp_path / "a", tmp_path / "b", many))
    assert sorted(rest.utterances + part.utterances, key=lambda u: u.id) == whole.utterances
    group = {"speaker": lambda u: u.speaker, "text": lambda u: u.text,
             "consultation": lambda u: u.labels["consultation"]}[by]  # fmt: skip
    assert not set(map(group, rest)) & set(map(group, part))
    assert out.splitlines()[1] == f"{part}" and abs(len(part) - taken) <= 6


# Damaged directories go through every command: refused in words or put right, never half.
MORE_TABLES = {"utt2dur": "anna-1 1\nanna-2 0.5\nbob-1 2e0\n", "spk2gender": "anna f\nbob m\ncleo f\n"}
TAPES = "tape1 a.wav\ntape2 a.wav\n"
WORDS = [
    *b"nan inf -1 1e999 1_0 <s> #0 anna anna-1".split(),
    *(b"", "١".encode(), b"x" * 300),
    *(b"|", b"touch x |", b"~/a", b"../a.wav", b"/dev/null", b"\\", b"\x00", b"\r", b"\x85", b"\xff", b"\n"),
    *(word.encode() for word in ("\u00a0", "\u200b", "\u2028", "\ufeff", "e\u0301", "日本語")),
]
DAMAGE = [
    lambda table: b"\n".join(reversed(table.split(b"\n"))),
    lambda table: table.replace(b"\n", b"\r\n"),
    lambda table: table + table,
    lambda table: table[: len(table) // 2],
    lambda table: None,
]


@st.composite
def directories(draw) -> dict[str, bytes]:
    """File name → its bytes, after up to four things that editors, scripts and copying do to tables."""
    cut = draw(st.booleans())
    tables = (SEGMENTS if cut else TABLES) | MORE_TABLES | {"wav.scp": TAPES if cut else EACH.format("a.wav")}
    tables = {name: table.encode() for name, table in tables.items()}
    for name in draw(st.lists(st.sampled_from(sorted(tables)), max_size=4)):
        fields = (tables.get(name) or b"").split(b" ")
        place = draw(st.integers(0, len(fields) - 1))
        fields[place : place + draw(st.integers(0, 1))] = [draw(st.sampled_from(WORDS))]
        damage = draw(st.none() | st.sampled_from(DAMAGE))
        tables[name] = damage(tables.get(name) or b"") if damage else b" ".join(fields)
    return {name: table for name, table in tables.items() if table is not None}


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def attempt(function, *words, **flags):
    """The result; or None after an error that is meant for the user. Anything else is a fault."""
    with suppress(UserError):
        return function(*words, **flags)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(directories())
def test_a_damaged_directory_is_refused_or_put_right(tables):
    with tempfile.TemporaryDirectory() as name:
        room, data = Path(name), Path(name, "data")
        data.mkdir()
        (room / "a.wav").touch()
        for file, content in tables.items():
            (data / file).write_bytes(content)
        before = all_bytes(room)
        for utterance in attempt(read_data_directory, data) or ():
            assert utterance.id and utterance.speaker and utterance.text is not None
            assert Path(utterance.source).is_absolute() and Path(utterance.source).exists()
            assert utterance.start is None or 0 <= utterance.start < utterance.end < float("inf")
            assert utterance.duration is None or 0 < utterance.duration < float("inf")
        halves = attempt(split_data_directory, data, room / "rest", room / "part")
        part = halves and halves[1]
        assert (room / "part").exists() == (part is not None)  # whole, or not at all
        assert part is None or read_available_tables(room / "part").utterances == part.utterances != []
        assert {name: content for name, content in all_bytes(room).items() if name in before} == before
        repair = attempt(fix_data_directory, data)
        if repair is None:
            assert all_bytes(data) == {name[5:]: text for name, text in before.items() if name[:5] == "data/"}
            return
        count, out_of = (int(word) for word in repair[-1].split() if word.isdecimal())
        assert len(read_available_tables(data)) == count <= out_of
        repaired = all_bytes(data)
        fix_data_directory(data)
        assert all_bytes(data) == repaired
        for name, original in all_bytes(data / ".backup").items():
            assert original == before[f"data/{name}"]
