"""Damaged data directories go through every command: they are refused in words or put right, never half."""

import contextlib
import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import (
    DataDirectory,
    fix_data_directory,
    read_data_directory,
    split_data_directory,
    subset_data_directory,
    validate_data_directory,
)
from ia3_speech.datadir import main

PLAIN = {
    "text": "anna-1 hello there\nanna-2 héllo\nbob-1 take two\ncleo-1\n".encode(),
    "utt2spk": b"anna-1 anna\nanna-2 anna\nbob-1 bob\ncleo-1 cleo\n",
    "spk2utt": b"anna anna-1 anna-2\nbob bob-1\ncleo cleo-1\n",
    "wav.scp": b"anna-1 a.wav\nanna-2 a.wav\nbob-1 a.wav\ncleo-1 a.wav\n",
}
SEGMENTED = PLAIN | {
    "segments": b"anna-1 tape1 0 0.5\nanna-2 tape1 0.5 1.0\nbob-1 tape2 0.25 1\ncleo-1 tape2 0 0.25\n",
    "wav.scp": b"tape1 a.wav\ntape2 a.wav\n",
    "reco2dur": b"tape1 1\ntape2 1\n",
}
EXTRAS = {
    "utt2dur": b"anna-1 1\nanna-2 0.5\nbob-1 2e0\ncleo-1 1\n",
    "utt2accent": b"anna-1 irish\ncleo-1 irish\n",
    "spk2gender": b"anna f\nbob m\ncleo f\n",
    "feats.scp": b"anna-1 x:1\nanna-2 x:2\nbob-1 x:3\ncleo-1 x:4\n",
}
NAMES = [*SEGMENTED, *EXTRAS]

WORDS = [
    *(b"", b"nan", b"inf", b"-1", b"1e999", b"1_0", b"0", "١".encode(), b"<s>", b"#0", b"anna", b"anna-1"),
    *(b"tape2", b"a.wav", b"x" * 300, b"|", b"touch x |", b"~/a", b"../a.wav", b"/", b"/dev/null", b"\\"),
    *(b"\x00", b"\r", b"\x0b", b"\x1c", b"\x85", b"\xff", b"\xed\xb2\x80"),
    *(word.encode() for word in ("\u00a0", "\u200b", "\u200c", "\u2028", "\ufeff", "e\u0301", "日本語")),
]
WORD = st.sampled_from(WORDS) | st.binary(max_size=6)


DAMAGE = {
    "reverse": lambda table: b"\n".join(reversed(table.split(b"\n"))),
    "crlf": lambda table: table.replace(b"\n", b"\r\n"),
    "bom": lambda table: b"\xef\xbb\xbf" + table,
    "newline": lambda table: table.rstrip(b"\n"),
    "tab": lambda table: table.replace(b" ", b"\t "),
    "utf16": lambda table: table.decode(errors="ignore").encode("utf-16"),
    "gone": lambda table: None,
    "empty": lambda table: b"",
}


@st.composite
def damage(draw, table: bytes) -> bytes | None:
    """One thing that editors, scripts and copying do to a table; None: the file is gone."""
    lines = table.split(b"\n")
    number = draw(st.integers(0, len(lines) - 1))
    fields = lines[number].split(b" ")
    place = draw(st.integers(0, len(fields) - 1))
    kind = draw(st.sampled_from(["word", "word", "field", "drop", "cut", "twice", "bytes", *DAMAGE]))
    match kind:
        case "word":
            fields[place] = draw(WORD)
        case "field":
            fields.insert(place, draw(WORD))
        case "drop":
            del fields[place]
        case "cut":
            return table[: draw(st.integers(0, len(table)))]
        case "twice":
            lines.insert(draw(st.integers(0, len(lines))), lines[number])
            return b"\n".join(lines)
        case "bytes":
            return draw(st.binary(max_size=60))
        case _:
            return DAMAGE[kind](table)
    lines[number] = b" ".join(fields)
    return b"\n".join(lines)


@st.composite
def directories(draw) -> dict[str, bytes | str]:
    """File name → its bytes; a text says what stands there instead: a folder, a dead link."""
    tables = dict(draw(st.sampled_from([PLAIN, SEGMENTED])))
    tables |= {name: EXTRAS[name] for name in draw(st.sets(st.sampled_from(sorted(EXTRAS))))}
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(NAMES))
        if name in tables:
            changed = draw(damage(tables[name]))
            tables = {other: table for other, table in tables.items() if other != name}
            tables |= {} if changed is None else {name: changed}
    if draw(st.booleans()) and draw(st.booleans()):
        tables[draw(st.sampled_from(NAMES))] = draw(st.sampled_from(["folder", "dead link"]))
    return tables


@contextlib.contextmanager
def laid(tables: dict[str, bytes | str]):
    """A room with `data` in it; in memory where that can be, for files written wait for their disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        room = Path(name)
        data = room / "data"
        data.mkdir()
        (room / "a.wav").touch()
        for file, content in tables.items():
            if content == "folder":
                (data / file).mkdir()
            elif content == "dead link":
                (data / file).symlink_to("nowhere")
            else:
                (data / file).write_bytes(content)
        yield room, data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def attempt(function, *words, **flags):
    """What it returns; or None after an error that is meant for the user. Anything else is a fault."""
    try:
        return function(*words, **flags)
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)
        return None


def read_back(folder: Path) -> DataDirectory:
    """Whatever was written is valid, but for what it was made without."""
    text, wav = (folder / "text").exists(), (folder / "wav.scp").exists()
    return read_data_directory(folder, text=text, wav=wav, spk_sort=False, allow_pipes=True)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(directories())
def test_what_is_valid_can_be_relied_on(tables):
    with laid(tables) as (room, data):
        before = contents(room)
        found = attempt(validate_data_directory, data)
        attempt(validate_data_directory, data, text=False, wav=False, spk_sort=False, allow_pipes=True)
        assert contents(room) == before
        if found is None:
            return
        assert [u.id for u in found] == sorted({u.id for u in found})
        for utterance in found:
            assert utterance.id and utterance.speaker and utterance.text is not None
            assert os.path.isabs(utterance.source) and os.path.exists(utterance.source)  # noqa: PTH117, PTH110
            assert utterance.start is None or 0 <= utterance.start < utterance.end < float("inf")
            assert utterance.duration is None or 0 < utterance.duration < float("inf")


@FUZZ
@given(directories())
def test_fix_puts_right_or_refuses(tables):
    with laid(tables) as (room, data):
        before = contents(room)
        done = attempt(fix_data_directory, data, room / "fixed")
        assert {path.name for path in room.iterdir()} == {"a.wav", "data"} | ({"fixed"} if done else set())
        assert contents(data) == {name.removeprefix("data/"): c for name, c in before.items() if "/" in name}
        again = attempt(fix_data_directory, data)
        assert (done is None) == (again is None)
        if done is None:
            assert contents(room) == before
            return
        fixed = read_back(room / "fixed")
        assert len(fixed) == done.kept <= done.out_of
        assert [u.id for u in read_back(data)] == [u.id for u in fixed]
        assert fix_data_directory(data).changed == []
        for name, original in contents(data / ".backup").items() if (data / ".backup").exists() else ():
            assert original == before[f"data/{name}"]


@FUZZ
@given(
    directories(), st.sampled_from(["first", "per_spk", "minutes"]), st.integers(-1, 5),
    st.sampled_from(["speaker", "text", "accent", "../x"]), st.floats(),
)  # fmt: skip
def test_parts_are_whole_or_absent(tables, option, value, by, fraction):
    with laid(tables) as (room, data):
        before = contents(room)
        part = attempt(subset_data_directory, data, room / "part", **{option: value})
        sides = attempt(split_data_directory, data, room / "a", room / "b", by=by, fraction=fraction)
        for name, written in [("part", part), *zip("ab", sides or (None, None), strict=True)]:
            assert (room / name).exists() == (written is not None)
            if written is not None:
                assert [u.id for u in read_back(room / name)] == [u.id for u in written] != []
        assert {name: c for name, c in contents(room).items() if name in before} == before


COMMANDS = [
    ["validate", "data"],
    ["validate", "--no-text", "--no-wav", "--no-spk-sort", "--allow-pipes", "data"],
    ["fix", "data", "--out", "out"],
    ["subset", "data", "out", "--first", "1"],
    ["subset", "data", "out", "--utt-list", "data/text"],
    ["split", "data", "out", "out2"],
    ["fix", "data"],
]


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables=directories())
def test_the_command_never_shows_a_traceback(argv, tables):
    with laid(tables) as (room, _):
        assert outcome(room, argv) in (0, 1)


@pytest.mark.parametrize(
    "target", ["data", "data/sub", ".", "", "a.wav/x", "link", "x" * 300, "\udcff", "-x"]
)
def test_odd_targets(target):
    """Paths that hold other things, or can hold nothing: refused, or written where they point."""
    for command in ("subset data {} --first 1", "fix data --out {}", "split data out {}"):
        with laid(PLAIN) as (room, _):
            (room / "link").symlink_to("data")
            before = contents(room)
            assert outcome(room, [word.format(target) for word in command.split(" ")]) in (0, 1, 2)
            assert {name: content for name, content in contents(room).items() if name in before} == before


def outcome(room: Path, argv: list[str]) -> int:
    """The exit code of a command run in `room`; an error is one that is meant for the user."""
    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(room)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(argv)
    except SystemExit as left:
        code = left.code
    finally:
        os.chdir(here)
    assert "Traceback" not in err.getvalue()
    if code == 1:
        assert err.getvalue().startswith("error: ") and not out.getvalue()
    return code
