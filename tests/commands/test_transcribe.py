"""transcribe: whatever a user names, to text; the command and the API."""

import io
import json
import os
import sys
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech import attach, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.commands.transcribe import main
from ia3_speech.common import atomic
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.session import load
from tests.live.test_audio_input import wav, with_size
from tests.live.test_streaming import babble as noise


@pytest.fixture
def audio(tmp_path, monkeypatch):
    """A function that writes `seconds` of noise to a file below the working directory; its relative path."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, seconds: float = 1.0, seed: int = 0) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, noise(seconds, seed), SAMPLE_RATE)
        return name

    return make


@pytest.fixture
def run(run_command):
    """A function that runs the command: exit code, stdout, stderr."""
    return partial(run_command, "transcribe")


def texts(folder, *paths: str) -> list[str]:
    """What the base in `folder` hears in each file, one by one."""
    return [result.text for path in paths for result in load(folder).transcribe([path])]


def test_one_file_is_its_text_and_several_are_lines_in_the_order_given(run, audio, tiny_folder):
    names = [audio("b.wav", 2), audio("a.flac", 1, 1), audio("c d.ogg", 0.5, 2)]
    heard = texts(tiny_folder, *names)
    assert run("--base", tiny_folder, names[0]) == (0, f"{heard[0]}\n", "") and heard[0]
    lines = [f"{name}\t{text}\n" for name, text in zip(names, heard, strict=True)]
    assert len(set(lines)) == 3
    assert run(*names, "--base", tiny_folder) == (0, "".join(lines), "")


def test_folders_are_searched_and_a_path_never_breaks_its_line(run, audio, tiny_folder):
    hidden = ["d/.trash/a.wav", "d/._a.wav"]
    for name in ("d/b.wav", "d/a.FLAC", "d/sub/c.ogg", "d/Z.mp3", "x\ty\n.wav", *hidden):
        audio(name)
    Path("d/notes.txt").write_text("no audio")
    Path("d/link.wav").symlink_to(Path("d/b.wav").absolute())
    audio("elsewhere/a.wav")
    Path("d/moved").symlink_to(Path("elsewhere").absolute())
    Path("d/sub/back").symlink_to(Path("d").absolute())
    order = ["x y .wav", "d/Z.mp3", "d/a.FLAC", "d/b.wav", "d/link.wav", "d/moved/a.wav", "d/sub/c.ogg"]
    lines = run("--base", tiny_folder, "x\ty\n.wav", "d/")[1].splitlines()
    assert [line.split("\t")[0] for line in lines] == order
    Path("d/sub/back").unlink()
    assert run("--base", tiny_folder, "d/sub") == (0, f"{texts(tiny_folder, 'd/sub/c.ogg')[0]}\n", "")


def test_output_dir(run, audio, tiny_folder):
    names = [audio(name, seed=n) for n, name in enumerate(("a.wav", "d/b.flac", "d/sub/b.wav", "v1.x.ogg"))]
    Path(audio("bad.wav")).write_bytes(b"")
    said = texts(tiny_folder, *names)
    flags = ("--output-dir", "out/deep", "a.wav", "./a.wav", "bad.wav", "d", names[3])
    problem = "bad.wav: empty (no bytes)\n"
    closing = "5 done, 1 failed: see out/deep/failed.txt\n"
    assert run("--base", tiny_folder, *flags) == (1, "", problem + closing)
    failed = Path("out/deep/failed.txt")
    assert failed.read_text() == problem
    run("--base", tiny_folder, "--output-dir", "out/deep", "--skip-existing", "a.wav")
    assert not failed.exists()  # nothing of this run did
    found = {str(p.relative_to("out/deep")): p.read_text() for p in Path("out").rglob("*") if p.is_file()}
    wanted = ["a.txt", "b.txt", "sub/b.txt", "v1.x.txt"]
    assert found == {name: f"{text}\n" for name, text in zip(wanted, said, strict=True)}


def test_a_wav_on_stdin(run, tiny_folder):
    """Also of a program that streams, and does not know its size."""
    data = wav(noise(1))
    text = load(tiny_folder).transcribe(io.BytesIO(data)).text
    assert text
    for words, stdin in (((), data), (("-",), with_size(data, 0x7FFFFFDB))):
        assert run("--base", tiny_folder, *words, stdin=stdin) == (0, f"{text}\n", "")


def test_other_sound_broken_sound_and_nothing_on_stdin(run, tiny_folder, audio):
    data = Path(audio("a.flac")).read_bytes()
    code, out, _ = run("--base", tiny_folder, "--output-dir", "out", stdin=data)
    assert (code, out, Path("out/stdin.txt").exists()) == (0, "", True)
    code, out, err = run("--base", tiny_folder, stdin=b"RIFF and no more")
    assert (code, out) == (1, "") and err.startswith("-: is not audio")
    assert "stdin is empty" in run(stdin=b"\n \n").err


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows have no such file names")
def test_paths_in_any_bytes_come_out_as_they_went_in(audio, tiny_folder, monkeypatch):
    (text,) = texts(tiny_folder, audio("a.wav"))
    Path("a.wav").rename(os.fsdecode(b"\xff.wav"))
    for words, wanted in (
        ([], b"\xff.wav\t%s\n" % text.encode()),
        (["--format", "json"], b'{"path": "\xef\xbf\xbd.wav"'),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff.wav\nnone\n")))
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit):
            command(main, ["--base", str(tiny_folder), *words])
        assert out.buffer.getvalue().startswith(wanted)


@pytest.mark.parametrize("flags", ["--base none/such/base", "--max-seconds nan", "--output-dir out d/a.wav"])
def test_odd_flags_give_one_line(run, audio, flags):
    """The last would write both files to out/a.txt."""
    audio("d/a.wav")
    code, out, err = run(audio("a.wav"), *flags.split())
    assert (code, out) == (1, "") and err.startswith("error: ") and err.count("\n") == 1
    assert not Path("out").exists()


def test_one_recording_or_a_list(audio, tiny_folder, speaker42):
    path = audio("a.wav", 1.25)
    wave = soundfile.read(path, dtype="float32")[0]
    asr = load(tiny_folder)
    one = asr.transcribe(path)
    assert one == Transcript("a.wav", one.text, 1.25, None, str(tiny_folder)) and one.text
    adapted = load(adapter="speaker42").transcribe(Path(path))
    assert (adapted.adapter, adapted.base) == ("speaker42", str(tiny_folder)) and adapted.text != one.text
    with Path(path).open("rb") as file:
        found = asr.transcribe([wave, path, file, Path(path).read_bytes(), {"bytes": None, "path": path}])
    assert [result.text for result in found] == 5 * [one.text]
    assert [result.path for result in found] == [None, "a.wav", "a.wav", None, "a.wav"]
    assert asr.transcribe(np.repeat(wave, 2), sampling_rate=2 * SAMPLE_RATE).seconds == 1.25
    assert asr.transcribe([]) == []


def test_an_adapter_for_each_request(audio, tiny_folder, speaker42, tmp_path):
    """On one base, as if it had been loaded with that adapter; and anew where it was stored anew."""
    path, asr = audio("a.wav", 1.25), load(tiny_folder)
    base = asr.transcribe(path)
    for adapter in ("speaker42", speaker42, "speaker42:0.5"):
        alone = load(tiny_folder, adapter=adapter).transcribe(path, word_timestamps=True)
        assert asr.transcribe([path], adapter=adapter, word_timestamps=True) == [alone]
        assert [*asr.with_adapter(adapter).stream(path)] == [*alone.segments] and alone.text != base.text
    assert asr.transcribe(path) == base
    model = attach(load_base(tiny_folder).model)
    save_adapter(model, tmp_path / "ones")
    registry.register(tmp_path / "ones", "speaker42", force=True)
    assert asr.transcribe(path, adapter="speaker42").text == base.text
    with pytest.raises(UserError, match="no adapter has this name"):
        asr.transcribe(path, adapter="nobody")
    names = asr.session.cache.bank.names()
    assert names == [registry.adapters_dir() / "speaker42"], "the earlier version has left"


def test_every_format_at_once_and_on_stdout(run, audio, tiny_folder):
    audio("d/sub/a.wav", 2)
    assert run("--base", tiny_folder, "--format", "all", "--output-dir", "out", "d") == (0, "", "")
    names = {str(p.relative_to("out")) for p in Path("out").rglob("*.*")}
    suffixes = ("txt", "json", "jsonl", "srt", "vtt", "tsv", "csv", "ctm", "stm", "TextGrid")
    assert names == {f"sub/a.{suffix}" for suffix in suffixes}
    (text,) = texts(tiny_folder, "d/sub/a.wav")
    words = [line.split() for line in Path("out/sub/a.ctm").read_text().splitlines()]
    assert " ".join(cells[4] for cells in words) == text and {cells[0] for cells in words} == {"sub-a"}
    record = json.loads(Path("out/sub/a.json").read_text())
    assert record["text"] == text == " ".join(one["text"] for one in record["segments"])
    assert "words" not in record
    for suffix in ("srt", "ctm", "jsonl", "txt", "stm"):
        out = run("--base", tiny_folder, "--format", suffix, "d")
        assert out == (0, Path(f"out/sub/a.{suffix}").read_text(), "") and out[1]


def test_a_long_recording_is_cut_and_printed_a_line_a_segment(run, audio, tiny_folder, monkeypatch):
    path = audio("long.wav", 20)
    words = ["--base", tiny_folder, "--max-seconds", "3", path]
    whole = run(*words).out
    monkeypatch.setattr("ia3_speech.commands.transcribe.LONG_SECONDS", 5.0)
    lines = run(*words).out.splitlines()
    assert len(lines) > 1 and " ".join(lines) == whole.strip()
    asr = load(tiny_folder, options=LoadOptions(max_seconds=3.0))
    assert [segment.text for segment in asr.stream(path)] == lines
    result = asr.transcribe(path, word_timestamps=True)
    assert result.segments == tuple(asr.stream(path)) and result.text == whole.strip()
    assert 0 < result.confidence < 1 and result.words[-1].end <= result.seconds == 20.0


def test_interrupted_it_leaves_whole_files_and_goes_on_with_the_others(run, audio, tiny_folder, monkeypatch):
    """While the fourth of eight files is written: b's second one."""
    for number, name in enumerate("abcd"):
        audio(f"d/{name}.wav", 1 + number / 2, number)
    flags = ["--base", tiny_folder, "--format", "txt,srt", "--skip-existing", "d", "--output-dir"]

    def files(folder: str) -> dict[str, str]:
        return {file.name: file.read_text() for file in Path(folder).iterdir()}

    assert run(*flags, "whole") == (0, "", "4 done\n")
    whole, flush, written = files("whole"), atomic.flush, count(1)

    def interrupted(new: Path, mode: int) -> None:
        if next(written) == 4:
            raise KeyboardInterrupt
        flush(new, mode)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "flush", interrupted)
        assert run(*flags, "out").code == 130
    assert files("out") == {name: whole[name] for name in ("a.txt", "a.srt", "b.txt")}
    Path("out/a.txt").write_text("not written again")
    assert run(*flags, "out") == (0, "", "1 of 4 are transcribed already\n3 done\n")
    assert files("out") == whole | {"a.txt": "not written again"}
    assert run(*flags, "out") == (0, "", "4 of 4 are transcribed already\n")
