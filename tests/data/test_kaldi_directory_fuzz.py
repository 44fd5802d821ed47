"""Damaged data directories go through every command: they are refused in words or put right, never half."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import (
    DataDirectory,
    fix_data_directory,
    read_data_directory,
    subset_data_directory,
)

PLAIN = {
    "text": "anna-1 hello there\nanna-2 héllo\nbob-1 take two\ncleo-1\n".encode(),
    "utt2spk": b"anna-1 anna\nanna-2 anna\nbob-1 bob\ncleo-1 cleo\n",
    "spk2utt": b"anna anna-1 anna-2\nbob bob-1\ncleo cleo-1\n",
    "wav.scp": b"anna-1 a.wav\nanna-2 a.wav\nbob-1 a.wav\ncleo-1 a.wav\n",
    "utt2dur": b"anna-1 1\nanna-2 0.5\nbob-1 2e0\ncleo-1 1\n",
    "utt2accent": b"anna-1 irish\ncleo-1 irish\n",
    "spk2gender": b"anna f\nbob m\ncleo f\n",
    "feats.scp": b"anna-1 x:1\nanna-2 x:2\nbob-1 x:3\ncleo-1 x:4\n",
}
SEGMENTED = PLAIN | {
    "segments": b"anna-1 tape1 0 0.5\nanna-2 tape1 0.5 1.0\nbob-1 tape2 0.25 1\ncleo-1 tape2 0 0.25\n",
    "wav.scp": b"tape1 a.wav\ntape2 a.wav\n",
    "reco2dur": b"tape1 1\ntape2 1\n",
}
WORDS = [
    *(b"", b"nan", b"inf", b"-1", b"1e999", b"1_0", b"0", "١".encode(), b"<s>", b"#0", b"anna", b"anna-1"),
    *(b"tape2", b"a.wav", b"x" * 300, b"|", b"touch x |", b"~/a", b"../a.wav", b"/", b"/dev/null", b"\\"),
    *(b"\x00", b"\r", b"\x0b", b"\x1c", b"\x85", b"\xff", b"\xed\xb2\x80", b"\n", b"\t"),
    *(word.encode() for word in ("\u00a0", "\u200b", "\u200c", "\u2028", "\ufeff", "e\u0301", "日本語")),
]
DAMAGE = {
    "reverse": lambda table: b"\n".join(reversed(table.split(b"\n"))),
    "crlf": lambda table: table.replace(b"\n", b"\r\n"),
    "bom": lambda table: b"\xef\xbb\xbf" + table,
    "newline": lambda table: table.rstrip(b"\n"),
    "twice": lambda table: table + table,
    "utf16": lambda table: table.decode(errors="ignore").encode("utf-16"),
    "gone": lambda table: None,
    "empty": lambda table: b"",
}


@st.composite
def directories(draw) -> dict[str, bytes]:
    """File name → its bytes, after up to four things that editors, scripts and copying do to tables."""
    tables = dict(draw(st.sampled_from([PLAIN, SEGMENTED])))
    for name in draw(st.lists(st.sampled_from(sorted(tables)), max_size=4)):
        table = tables.get(name) or b""
        kind = draw(st.sampled_from(["word", "word", "cut", *DAMAGE]))
        if kind == "word":
            fields = table.split(b" ")
            place = draw(st.integers(0, len(fields) - 1))
            fields[place : place + draw(st.integers(0, 1))] = [draw(st.sampled_from(WORDS))]
            table = b" ".join(fields)
        elif kind == "cut":
            table = table[: draw(st.integers(0, len(table)))]
        else:
            table = DAMAGE[kind](table)
        tables[name] = table
    return {name: table for name, table in tables.items() if table is not None}


@contextmanager
def laid(tables: dict[str, bytes]):
    """A folder with `data` in it."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, "data")
        data.mkdir()
        data.with_name("a.wav").touch()
        for file, content in tables.items():
            (data / file).write_bytes(content)
        yield data.parent, data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def attempt(function, *words, **flags):
    """What it returns; or None after an error that is meant for the user. Anything else is a fault."""
    try:
        return function(*words, **flags)
    except UserError as error:
        assert str(error)
        return None


def read_back(folder: Path) -> DataDirectory:
    """Whatever was written is valid, but for what it was made without."""
    text, wav = (folder / "text").exists(), (folder / "wav.scp").exists()
    return read_data_directory(folder, text=text, wav=wav, spk_sort=False, allow_pipes=True)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(directories())
def test_a_damaged_directory_is_refused_or_put_right(tables):
    with laid(tables) as (room, data):
        before = contents(room)
        for utterance in attempt(read_data_directory, data) or ():
            assert utterance.id and utterance.speaker and utterance.text is not None
            assert Path(utterance.source).is_absolute() and Path(utterance.source).exists()
            assert utterance.start is None or 0 <= utterance.start < utterance.end < float("inf")
            assert utterance.duration is None or 0 < utterance.duration < float("inf")
        part = attempt(subset_data_directory, data, room / "part", first=2)
        assert (room / "part").exists() == (part is not None)  # whole, or not at all
        assert part is None or read_back(room / "part").utterances == part.utterances != []
        assert {name: content for name, content in contents(room).items() if name in before} == before
        repair = attempt(fix_data_directory, data)
        if repair is None:
            assert contents(data) == {name[5:]: text for name, text in before.items() if name[:5] == "data/"}
            return
        kept, out_of = (int(word) for word in repair[-1].split() if word.isdecimal())
        assert len(read_back(data)) == kept <= out_of
        repaired = contents(data)
        fix_data_directory(data)
        assert contents(data) == repaired
        for name, original in contents(data / ".backup").items():
            assert original == before[f"data/{name}"]
