"""transcribe: whatever a user names, to text; the command and the API."""

import io
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from warm_python import path_with_warm_python

from ia3_speech.adapters import registry
from ia3_speech.cli import UserError, command
from ia3_speech.data.audio import SAMPLE_RATE, AudioError
from ia3_speech.data.recordings import find_recordings
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.loading import load
from ia3_speech.transcribe import main, transcribe


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    size = round(seconds * SAMPLE_RATE)
    syllables = 0.55 + 0.45 * np.sin(
        2 * np.pi * 4 * np.arange(size) / SAMPLE_RATE
    )  # else it is named as noise
    return (np.random.default_rng(seed).normal(0, 0.1, size) * syllables).astype(np.float32)


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
def run(capsys, monkeypatch):
    """A function that runs the command: exit code, stdout, stderr."""

    def outcome(*argv, stdin: bytes = b""):
        capsys.readouterr()  # what making a base printed is none of ours
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            command(main, [str(word) for word in argv])
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return outcome


def texts(folder, *paths: str) -> list[str]:
    """What the base in `folder` hears in each file, one by one."""
    return [transcribe(path, base=folder).text for path in paths]


# ---- what is printed


def test_one_file_is_its_text_alone(run, audio, tiny_folder):
    (text,) = texts(tiny_folder, audio("a.wav"))
    assert text
    assert run("--base", tiny_folder, "a.wav") == (0, f"{text}\n", "")


def test_several_files_in_the_order_given(run, audio, tiny_folder):
    names = [audio("b.wav", 2), audio("a.flac", 1, 1), audio("c d.ogg", 0.5, 2)]
    lines = [f"{name}\t{text}\n" for name, text in zip(names, texts(tiny_folder, *names), strict=True)]
    assert len(set(lines)) == 3
    for batch_seconds in (1, 40):
        found = run(*names, "--base", tiny_folder, "--batch-seconds", batch_seconds)
        assert found == (0, "".join(lines), "")
    assert run(names[0], "--base", tiny_folder, names[0])[1] == 2 * lines[0]


def test_json(run, audio, tiny_folder, speaker42):
    adapted = transcribe(audio("a.wav", 1.5), adapter="speaker42")
    code, out, err = run("--format", "json", "--adapter", "speaker42", "a.wav")
    base = str(tiny_folder)
    assert (code, err) == (0, "")
    assert out == (
        f'{{"path": "a.wav", "text": "{adapted.text}", "seconds": 1.5, "adapter": "speaker42", '
        f'"base": "{base}"}}\n'
    )
    lines = run("--format", "json", "--base", base, "a.wav", audio("é\t.wav"))[1].splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["a.wav", "é\t.wav"]
    assert json.loads(lines[1])["adapter"] is None and "é" in lines[1]


def test_dictation_writes_what_was_said_and_keeps_it(run, audio, tiny_folder):
    heard = run("--base", tiny_folder, audio("a.wav"))[1].rstrip("\n")
    Path("own.yaml").write_text("rules: [sentence_starts, pronoun_i]", "utf-8")
    written = heard[:1].upper() + heard[1:]
    for flags in (["--format", "dictation"], ["--dictation"], ["--format", "text", "--dictation", "true"]):
        own = ["--dictation-grammar", "own.yaml", "--dictation-off", "pronoun_i"]
        assert run("--base", tiny_folder, *flags, *own, "a.wav") == (0, f"{written}\n", "")
    record = json.loads(run("--base", tiny_folder, "--format", "json", "--dictation", *own, "a.wav")[1])
    assert (record["text"], record["raw_text"]) == (written, heard)
    assert "raw_text" not in json.loads(run("--base", tiny_folder, "--format", "json", "a.wav")[1])
    code, _, err = run("--dictation", "--dictation-off", "perod", "a.wav")
    assert code == 1 and err.startswith("error: --dictation-off: 'perod' is no rule")


def test_a_path_never_breaks_its_line(run, audio, tiny_folder):
    audio("a\tb\n.wav")
    out = run("--base", tiny_folder, "a\tb\n.wav", audio("c.wav"))[1]
    assert [line.split("\t")[0] for line in out.splitlines()] == ["a b .wav", "c.wav"]


def test_folders_are_searched(run, audio, tiny_folder):
    names = [audio(name) for name in ("d/b.wav", "d/a.FLAC", "d/sub/c.ogg", "d/Z.mp3", "x.wav")]
    for hidden in ("d/.trash/a.wav", "d/._a.wav"):
        audio(hidden)
    Path("d/notes.txt").write_text("no audio")
    Path("d/link.wav").symlink_to(Path("x.wav").absolute())
    order = ["x.wav", "d/Z.mp3", "d/a.FLAC", "d/b.wav", "d/link.wav", "d/sub/c.ogg"]
    lines = run("--base", tiny_folder, "x.wav", "d/")[1].splitlines()
    assert [line.split("\t")[0] for line in lines] == order
    assert set(names) < set(order)


def test_a_folder_of_one_file_is_one_file(run, audio, tiny_folder):
    (text,) = texts(tiny_folder, audio("d/a.wav"))
    assert run("--base", tiny_folder, "d")[1] == f"{text}\n"


# ---- into files


def test_output_dir(run, audio, tiny_folder):
    names = [audio(name, seed=n) for n, name in enumerate(("a.wav", "d/b.flac", "d/sub/b.wav", "v1.x.ogg"))]
    said = texts(tiny_folder, *names)
    assert run("--base", tiny_folder, "--output-dir", "out/deep", "a.wav", "d", names[3]) == (0, "", "")
    found = {str(p.relative_to("out/deep")): p.read_text() for p in Path("out").rglob("*") if p.is_file()}
    wanted = ["a.txt", "b.txt", "sub/b.txt", "v1.x.txt"]
    assert found == {name: f"{text}\n" for name, text in zip(wanted, said, strict=True)}
    run("--base", tiny_folder, "--output-dir", "out/json", "--format", "json", "a.wav")
    assert [file.name for file in Path("out/json").iterdir()] == ["a.json"]
    assert json.loads(Path("out/json/a.json").read_text())["text"] == said[0]


def test_two_files_for_one_place_are_refused_before_any_work(run, audio):
    for one, other in ((audio("d/a.wav"), audio("e/a.wav")), (audio("b.wav"), audio("b.flac"))):
        code, out, err = run("--base", "/none", "--output-dir", "out", one, other)
        place = Path("out") / f"{Path(one).stem}.txt"
        assert (code, out) == (1, "")
        assert err == (
            f"error: {one} and {other} would both be written to {place} (give each an --output-dir of its "
            f"own; or give the folder above them, whose sub-folders are kept)\n"
        )
    assert not Path("out").exists()


def test_one_file_named_twice_is_no_collision(run, audio, tiny_folder):
    audio("a.wav")
    assert run("--base", tiny_folder, "--output-dir", "out", "a.wav", "./a.wav")[0] == 0


def test_a_bad_file_leaves_no_text_file(run, audio, tiny_folder):
    Path(audio("bad.wav")).write_bytes(b"")
    code, out, err = run("--base", tiny_folder, "--output-dir", "out", audio("a.wav"), "bad.wav")
    assert (code, out, err) == (1, "", "bad.wav: empty (no bytes)\n")
    assert [file.name for file in Path("out").iterdir()] == ["a.txt"]


# ---- bad files


def test_bad_files_are_named_and_the_others_go_on(run, audio, tiny_folder):
    audio("good.wav")
    audio("short.wav", 0.005)
    Path("text.wav").write_text("this is no sound file at all")
    Path("song.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    soundfile.write("nan.wav", np.full(SAMPLE_RATE, np.nan, np.float32), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write("clipped.wav", np.sign(noise(1)), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write("none.wav", np.zeros(0), SAMPLE_RATE)
    names = [
        "missing.wav",
        "short.wav",
        "text.wav",
        "song.m4a",
        "nan.wav",
        "good.wav",
        "clipped.wav",
        "none.wav",
    ]
    code, out, err = run("--base", tiny_folder, *names)
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == ["good.wav", "clipped.wav"]
    lines = err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [name for name in names if name != "good.wav"]
    assert lines[0] == "missing.wav: no such file or folder"
    assert lines[1].startswith("short.wav: too short (0.005 s, 0.010 s are")
    assert "is not audio that libsndfile reads" in lines[2] and "convert it to wav" in lines[2]
    assert lines[3].startswith("song.m4a: cannot be decoded: ")
    assert lines[4] == "nan.wav: 16000 samples are NaN or infinite"
    assert lines[5].startswith("clipped.wav: clipped (")
    assert lines[6] == "none.wav: empty (no samples)"
    code, out, err = run("--base", tiny_folder, "clipped.wav")
    assert code == 0 and out.strip() and err.startswith("clipped.wav: clipped (")


def test_nothing_but_a_bad_file(run, audio, tiny_folder):
    Path(audio("a.wav")).write_bytes(b"RIFF")
    for name in ("a.wav", "none.wav"):
        code, out, err = run("--base", tiny_folder, name)
        assert (code, out) == (1, "") and err.startswith(f"{name}: ")


def test_folders_without_audio(run, audio, tiny_folder):
    for folder in ("empty", "kaldi", "with"):
        Path(audio(f"{folder}/a.wav"))
    Path("empty/a.wav").unlink()
    Path("kaldi/a.wav").rename("kaldi/wav.scp")
    code, out, err = run("--base", tiny_folder, "empty", "with", "kaldi")
    assert code == 1 and out.startswith("with/a.wav\t")
    assert err.splitlines()[0].startswith("empty: no audio files in this folder (searched for .3gp .aac ")
    assert err.splitlines()[1] == ("kaldi: is a Kaldi data directory (ia3-speech decode kaldi DECODE_DIR)")


def test_audio_of_a_folder_that_is_not_decoded_is_named(run, audio, tiny_folder):
    """A dictation machine's file beside others would be missing without a word."""
    unread = ["a.dss", "b.DS2", "c.mp2", "d.wv", "e.spx", "f.avi", "g.wav.gz", "deep/data:h.mpeg"]
    others = ["notes.txt", "list.m3u", "song.mid", "film.ass", "film.srt", ".hidden.dss", "wave"]
    Path(audio("in/deep/good.wav"))
    for name in unread + others:
        Path("in", name).write_bytes(b"?")
    code, out, err = run("--base", tiny_folder, "in")
    assert code == 1 and out.startswith("in/deep/good.wav\t")
    assert [line.split(": not read, ")[0] for line in err.splitlines()] == sorted(f"in/{n}" for n in unread)
    assert "(convert it to wav, flac, ogg or mp3)" in err
    sources, bad = find_recordings(["in"])
    assert [source.path for source in sources] == ["in/deep/good.wav"] and len(bad) == len(unread)


def test_names_that_no_file_can_have():
    sources, bad = find_recordings(["a\0b", "x" * 5000, ""])
    assert sources == [] and len(bad) == 3 and all(line.endswith("no such file or folder") for line in bad)


# ---- stdin


def wav(sizes: tuple[int, int] | None = None) -> bytes:
    """A WAV of one second; `sizes` are what its header says of itself, as a program writes that streams."""
    sound = (noise(1) * 32767).astype("<i2").tobytes()
    whole, data = sizes or (36 + len(sound), len(sound))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", data) + sound


@pytest.mark.parametrize("sizes", [None, (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFFFDB)])
def test_a_wav_on_stdin(run, tiny_folder, sizes):
    text = transcribe(io.BytesIO(wav()), base=tiny_folder).text
    assert text
    for words in ((), ("-",)):
        assert run("--base", tiny_folder, *words, stdin=wav(sizes)) == (0, f"{text}\n", "")
    record = json.loads(run("--base", tiny_folder, "--format", "json", stdin=wav(sizes))[1])
    assert (record["path"], record["seconds"]) == ("-", 1.0)


def test_other_sound_on_stdin(run, tiny_folder, audio, tmp_path):
    data = Path(audio("a.flac")).read_bytes()
    code, out, _ = run("--base", tiny_folder, "--output-dir", "out", stdin=data)
    assert (code, out, Path("out/stdin.txt").exists()) == (0, "", True)


def test_broken_sound_on_stdin(run, tiny_folder):
    code, out, err = run("--base", tiny_folder, stdin=b"RIFF and no more")
    assert (code, out) == (1, "") and err.startswith("-: is not audio that libsndfile reads")


def test_paths_on_stdin(run, audio, tiny_folder):
    audio("a.wav")
    audio("d/b c.wav", seed=1)
    a, b = texts(tiny_folder, "a.wav", "d/b c.wav")
    found = run("--base", tiny_folder, stdin=b"a.wav\r\n\nd\nnone.wav")
    assert found == (1, f"a.wav\t{a}\nd/b c.wav\t{b}\n", "none.wav: no such file or folder\n")
    assert run("--base", tiny_folder, stdin=b"a.wav") == (0, f"{a}\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows have no such file names")
def test_paths_in_any_bytes_come_out_as_they_went_in(audio, tiny_folder, capsysbinary, monkeypatch):
    (text,) = texts(tiny_folder, audio("a.wav"))
    Path("a.wav").rename(os.fsdecode(b"\xff.wav"))
    for words, wanted in (
        ([], b"\xff.wav\t%s\n" % text.encode()),
        (["--format", "json"], b'{"path": "\xef\xbf\xbd.wav"'),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff.wav\nnone\n")))
        capsysbinary.readouterr()
        with pytest.raises(SystemExit):
            command(main, ["--base", str(tiny_folder), *words])
        assert capsysbinary.readouterr().out.startswith(wanted)


@pytest.mark.parametrize("data", [b"", b"\n \n"])
def test_nothing_on_stdin(run, data):
    assert run(stdin=data) == (
        1, "", "error: no files were given, and stdin is empty (--help shows how to use it)\n",
    )  # fmt: skip


def at_a_terminal(*words: str) -> str:
    """What the command prints where stdin is a terminal."""
    ours, theirs = pty.openpty()
    try:
        command = ["python", "-m", "ia3_speech.transcribe", *words]
        environment = os.environ | {"PATH": path_with_warm_python()}
        streams = {"stdin": theirs, "capture_output": True, "text": True}
        done = subprocess.run(command, env=environment, timeout=60, **streams)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_at_a_terminal_it_says_how_to_use_it(speaker42):
    lines = at_a_terminal().splitlines()
    assert lines[:2] == [
        "Usage:", "    ia3-speech transcribe audio.wav                           its text",
    ]  # fmt: skip
    assert lines[-2:] == ["Adapters: speaker42", "All options: ia3-speech transcribe --help"]
    registry.remove("speaker42")
    assert f"No adapter is registered in {registry.home()}." in at_a_terminal()


def test_help_groups_the_options_explains_each_and_names_its_default(run):
    code, out, _ = run("--help")
    groups = re.findall(r"^(\w[\w ]*):$", out, re.MULTILINE)
    assert (code, groups) == (0, ["positional arguments", "options", "Input", "Live input", "Model", "Search",
                                  "Output", "Dictation", "Confidences"])  # fmt: skip
    options = re.split(r"^  (?=--|-h)", out.partition("\noptions:\n")[2], flags=re.MULTILINE)[1:]
    assert all(len(" ".join(option.split()).split(" ", 2)[-1]) > 20 for option in options)
    without = {option.split()[0] for option in options if option.split()[1].isupper() or "{" in option}
    without -= {option.split()[0] for option in options if "(default:" in option}
    assert without == {
        "--config",
        "--raw",
        "--hotwords",
        "--output-dir",
        "--dictation-names",
        "--dictation-off",
    }


def test_progress_only_on_a_terminal(run, audio, tiny_folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    names = [audio("a.wav", 2), audio("b.mp3")]
    lines = run("--base", tiny_folder, *names)
    assert lines[2] == ""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert run("--base", tiny_folder, "--batch-seconds", "2", *names)[:2] == lines[:2]
    assert "transcribing 100%" in screen.getvalue() and "s of audio" in screen.getvalue()


# ---- adapters and bases


def test_adapters(run, audio, tiny_folder, speaker42):
    audio("a.wav", 2)
    plain = run("--base", tiny_folder, "a.wav")[1]
    adapted = run("--adapter", "speaker42", "a.wav")
    assert adapted[0] == 0 and adapted[1] != plain
    assert run("--adapter", speaker42, "a.wav") == adapted
    assert run("--adapter", "speaker42", "--base", tiny_folder, "a.wav") == adapted


def test_an_unknown_adapter_is_told_before_anything_is_read(run, speaker42):
    wanted = "error: speaker24: no adapter has this name (nearest names: speaker42)\n"
    assert run("--adapter", "speaker24", "none.wav") == (1, "", wanted)
    assert run("--adapter", "speaker24", stdin=wav()) == (1, "", wanted)
    assert run("--adapter", "", "none.wav")[0] == 1


def test_bad_flags(run, audio):
    audio("a.wav")
    assert run("a.wav", "--nonsense")[0] == 2
    code, _, err = run("a.wav", "--base", "none/such/base")
    assert code == 1 and err.startswith("error: no base 'none/such/base'")


def test_long_recordings_are_cut(audio, tiny_folder):
    path = audio("long.wav", 7)
    whole = transcribe(path, base=tiny_folder, max_seconds=float("inf"))
    cut = transcribe(path, base=tiny_folder, max_seconds=3.0)
    recognizer = load(tiny_folder, max_seconds=3.0).recognizer
    wave = soundfile.read(path, dtype="float32")[0]
    pieces = [wave[first:end] for first, end in recognizer.cut(wave)]
    assert len(pieces) >= 3 and cut.text == " ".join(recognizer.texts(pieces)) != whole.text


# ---- the API


def test_one_recording_or_a_list(audio, tiny_folder, speaker42):
    path = audio("a.wav", 1.25)
    wave = soundfile.read(path, dtype="float32")[0]
    one = transcribe(path, base=tiny_folder)
    assert one == Transcript("a.wav", one.text, 1.25, None, str(tiny_folder)) and one.text
    adapted = transcribe(Path(path), adapter="speaker42")
    assert (adapted.adapter, adapted.base) == ("speaker42", str(tiny_folder)) and adapted.text != one.text
    with Path(path).open("rb") as file:
        found = transcribe([wave, path, file, wave.astype(np.float64)], base=tiny_folder)
    assert [result.text for result in found] == 4 * [one.text]
    assert [result.path for result in found] == [None, "a.wav", "a.wav", None]
    assert transcribe([], base=tiny_folder) == []


def test_whatever_holds_audio(audio, tiny_folder):
    """Tensors, bytes, rows of `datasets` and torchcodec's decoders are the file they were made of."""
    path = audio("a.wav", 1.25)
    wave = soundfile.read(path, dtype="float32")[0]
    data = Path(path).read_bytes()

    class Decoder:
        def get_all_samples(self):
            return SimpleNamespace(data=torch.tensor(np.stack([wave, wave])), sample_rate=SAMPLE_RATE)

    given = [
        torch.tensor(wave, requires_grad=True),
        data,
        {"array": wave, "sampling_rate": SAMPLE_RATE},
        {"array": [*map(float, wave)], "sampling_rate": SAMPLE_RATE},
        {"bytes": data, "path": "b.wav"},
        {"bytes": None, "path": path},
        Decoder(),
    ]
    (text,) = texts(tiny_folder, path)
    assert [result.text for result in transcribe(given, base=tiny_folder)] == len(given) * [text]
    for one in given:
        assert transcribe(one, base=tiny_folder).text == text
    with pytest.raises(AudioError, match=r"^b\.wav: is not audio that libsndfile reads"):
        transcribe({"bytes": b"no sound at all", "path": "b.wav"}, base=tiny_folder)


@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_containers(run, audio, tiny_folder, suffix):
    pytest.importorskip("av")
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg, which makes the file, is not installed")
    audio("a.wav", 2)
    subprocess.run(["ffmpeg", "-v", "error", "-i", "a.wav", f"d.{suffix}"], check=True)
    code, out, err = run("--base", tiny_folder, f"d.{suffix}")
    assert (code, err) == (0, "") and out.strip()


def test_files_of_a_folder_that_cannot_be_read_are_listed(run, audio, tiny_folder):
    audio("d/a.wav")
    for suffix in ("m4a", "mp4", "webm", "amr", "wma", "aac"):
        Path(f"d/b.{suffix}").write_bytes(b"no sound at all")
    code, out, err = run("--base", tiny_folder, "d")
    assert code == 1 and out.startswith("d/a.wav\t")
    assert [line.partition(": ")[0] for line in err.splitlines()] == [
        f"d/b.{suffix}" for suffix in ("aac", "amr", "m4a", "mp4", "webm", "wma")
    ]


def test_recordings_without_speech_are_named(run, audio, tiny_folder, caplog):
    wave = noise(2)
    soundfile.write(audio("opposite.wav"), np.stack([wave, -wave], axis=1), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(audio("silent.wav"), np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    steady = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)
    soundfile.write(audio("noise.wav"), steady, SAMPLE_RATE, subtype="FLOAT")
    half = Path(audio("half.wav", 2)).read_bytes()
    Path("half.wav").write_bytes(half[: len(half) // 2])
    code, out, err = run("--base", tiny_folder, "opposite.wav", "silent.wav", "noise.wav", "half.wav")
    assert code == 1 and [line.split("\t")[0] for line in out.splitlines()] == [
        "opposite.wav", "silent.wav", "noise.wav",
    ]  # fmt: skip
    assert err.splitlines() == [
        "silent.wav: silent (is the microphone or the right channel recorded?)",
        "noise.wav: noise of a constant level, without speech",
        "half.wav: ends 1.00 s before its header says it does, at 1.00 s (damaged: copy the file again)",
    ]
    assert caplog.messages == [
        "opposite.wav: the channels cancel each other (opposite phase), so the loudest is taken"
    ]
    soundfile.write("one.wav", wave, SAMPLE_RATE, subtype="FLOAT")
    assert out.splitlines()[0].split("\t")[1] == transcribe("one.wav", base=tiny_folder).text


def test_arrays_of_another_rate(audio, tiny_folder):
    wave = noise(1)
    twice = transcribe(np.repeat(wave, 2), base=tiny_folder, sampling_rate=2 * SAMPLE_RATE)
    assert twice.seconds == 1.0
    for wrong in (wave[None], (wave * 32767).astype(np.int16)):
        with pytest.raises(ValueError, match=r"a waveform is float, of shape \(samples,\)"):
            transcribe(wrong, base=tiny_folder)


def test_a_recogniser_serves_many_calls(tiny_folder, speaker42):
    recognizer = load(adapter="speaker42").recognizer
    found = transcribe(noise(1), recognizer=recognizer)
    assert found == transcribe(noise(1), adapter="speaker42")
    with pytest.raises(ValueError, match="give a recognizer, or what to load"):
        transcribe(noise(1), recognizer=recognizer, base=tiny_folder)


def test_bad_recordings(audio, tiny_folder):
    audio("a.wav")
    with pytest.raises(AudioError, match=r"^short\.wav: too short"):
        transcribe(["a.wav", audio("short.wav", 0.005)], base=tiny_folder)
    with pytest.raises(AudioError, match=r"^array: empty"):
        transcribe(noise(0), base=tiny_folder)
    good, bad = transcribe(["a.wav", "none.wav"], base=tiny_folder, on_error="skip")
    assert good.usable and good.text and good.problem is None
    assert not bad.usable and bad.text == "" and bad.problem.startswith("no such file")
    clipped = transcribe(np.sign(noise(1)), base=tiny_folder)
    assert clipped.usable and clipped.text and clipped.problem.startswith("clipped")
    with pytest.raises(UserError):
        transcribe("a.wav", adapter="nobody", base=tiny_folder)


# ---- as a user runs it


def test_the_contract(audio, tiny_folder, speaker42):
    """`python -m ia3_speech.transcribe --adapter speaker42 audio.wav`, with a registered adapter."""
    text = transcribe(audio("audio.wav", 2), adapter="speaker42").text
    command = [sys.executable, "-m", "ia3_speech.transcribe", "--adapter", "speaker42"]
    done = subprocess.run([*command, "audio.wav"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{text}\n", "")


def test_real_speech(run, base_folder, shared_data):
    """Read speech and dictated notes that no base of ours was trained on, through the command."""
    chapter = shared_data / "librispeech_237/LibriSpeech/test-clean/237/134500"
    lines = (chapter / "237-134500.trans.txt").read_text().splitlines()[:5]
    said = {str(chapter / f"{name}.flac"): text.lower() for name, text in (n.split(" ", 1) for n in lines)}
    code, out, err = run("--base", base_folder, *said)
    heard = dict(line.split("\t") for line in out.splitlines())
    assert (code, err) == (0, "") and list(heard) == list(said)
    assert jiwer.cer(list(said.values()), list(heard.values())) < 0.35
    notes = sorted((shared_data / "medical_notes/test/audio/af_bella").iterdir())[:4]
    code, out, _ = run("--base", base_folder, "--format", "json", *notes)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [record["path"] for record in found] == list(map(str, notes))
    assert all(record["text"] and record["seconds"] > 0.5 for record in found)


# ---- times, formats and channels, through the command


def test_every_format_at_once(run, audio, tiny_folder):
    audio("d/sub/a.wav", 2)
    assert run("--base", tiny_folder, "--format", "all", "--output-dir", "out", "d") == (0, "", "")
    names = {str(p.relative_to("out")) for p in Path("out").rglob("*.*")}
    suffixes = ("txt", "json", "jsonl", "srt", "vtt", "tsv", "ctm", "stm", "TextGrid")
    assert names == {f"sub/a.{suffix}" for suffix in suffixes}
    (text,) = texts(tiny_folder, "d/sub/a.wav")
    words = [line.split() for line in Path("out/sub/a.ctm").read_text().splitlines()]
    assert " ".join(cells[4] for cells in words) == text and {cells[0] for cells in words} == {"sub-a"}
    record = json.loads(Path("out/sub/a.json").read_text())
    assert record["text"] == text == " ".join(one["text"] for one in record["segments"])
    assert "words" not in record


def test_a_format_on_stdout_is_the_file(run, audio, tiny_folder):
    audio("a.wav", 2)
    for name, suffix in (("srt", "srt"), ("ctm", "ctm"), ("jsonl", "jsonl"), ("txt", "txt"), ("stm", "stm")):
        run("--base", tiny_folder, "--format", name, "--output-dir", "out", "a.wav")
        code, out, err = run("--base", tiny_folder, "--format", name, "a.wav")
        assert (code, out, err) == (0, Path(f"out/a.{suffix}").read_text(), "") and out
    record = json.loads(run("--base", tiny_folder, "--format", "json", "--word-timestamps", "a.wav")[1])
    assert [word["word"] for word in record["words"]] == record["text"].split()
    code, out, err = run("--base", tiny_folder, "--format", "srt", "a.wav", audio("b.wav"))
    assert (code, out) == (1, "") and err == (
        "error: --format srt of several recordings makes several files (give --output-dir)\n"
    )


def test_a_long_recording_is_printed_a_line_a_segment(run, audio, tiny_folder, monkeypatch):
    path = audio("long.wav", 20)
    command = ("--base", tiny_folder, "--max-seconds", "3", path)
    whole = run(*command)[1]
    monkeypatch.setattr("ia3_speech.transcribe.LONG_SECONDS", 5.0)
    lines = run(*command)[1].splitlines()
    assert len(lines) > 1 and " ".join(lines) == whole.strip()
    streamed = [*load(tiny_folder, max_seconds=3.0).stream(path)]
    assert [segment.text for segment in streamed] == lines
    result = load(tiny_folder, max_seconds=3.0).transcribe(path, word_timestamps=True)
    assert result.segments == tuple(streamed) and result.text == whole.strip()
    assert 0 < result.confidence < 1 and result.words[-1].end <= result.seconds == 20.0


def test_a_killed_run_goes_on(run, audio, tiny_folder):
    for name in ("d/a.wav", "d/b.wav", "d/c.wav"):
        audio(name)
    flags = ("--base", tiny_folder, "--format", "txt,srt", "--output-dir", "out", "--skip-existing", "d")
    Path("out").mkdir()
    for name in ("a.txt", "a.srt", "b.txt"):  # of b only one of the two
        Path("out", name).write_text("done")
    assert run(*flags) == (0, "", "1 of 3 are transcribed already\n")
    assert Path("out/a.srt").read_text() == "done" != Path("out/b.txt").read_text()
    assert Path("out/c.srt").exists()
    assert run(*flags) == (0, "", "3 of 3 are transcribed already\n")


KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from ia3_speech import atomic
from ia3_speech.cli import command
from ia3_speech.transcribe import main

flush, written = atomic.flush, []

def flush_and_die(new, mode):
    written.append(new)
    if len(written) == 4:
        new.write_text(new.read_text()[:2])
        os.kill(os.getpid(), signal.SIGKILL)
    flush(new, mode)

atomic.flush = flush_and_die
command(main, sys.argv[1:])
"""


def test_killed_in_the_middle_it_leaves_whole_files_and_goes_on_with_the_others(run, audio, tiny_folder):
    """SIGKILL while the fourth of eight files is half written: b's second one."""
    for number, name in enumerate("abcd"):
        audio(f"d/{name}.wav", 1 + number / 2, number)
    flags = ["--base", str(tiny_folder), "--format", "txt,srt", "--skip-existing", "d", "--output-dir"]

    def files(folder: str) -> dict[str, str]:
        return {file.name: file.read_text() for file in Path(folder).iterdir() if file.is_file()}

    assert run(*flags, "whole") == (0, "", "")
    whole = files("whole")
    killed = subprocess.run(
        ["python", "-c", KILLED_WHILE_IT_WRITES, *flags, "out"],
        env=os.environ | {"PATH": path_with_warm_python()},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert files("out") == {name: whole[name] for name in ("a.txt", "a.srt", "b.txt")}
    Path("out/a.txt").write_text("not written again")
    assert run(*flags, "out") == (0, "", "1 of 4 are transcribed already\n")
    assert files("out") == whole | {"a.txt": "not written again"}


def test_a_call_through_the_command(run, audio, tiny_folder, speaker42):
    wave = np.stack([noise(2, 1), noise(2, 2)], axis=1)
    soundfile.write(audio("call.wav"), wave, SAMPLE_RATE, subtype="FLOAT")
    flags = ("--channels", "split", "--adapter", "left=speaker42,right=speaker42:0.5", "call.wav")
    code, out, err = run(*flags)
    assert (code, err) == (0, "") and {line.partition(": ")[0] for line in out.splitlines()} == {
        "left",
        "right",
    }
    lines = run(*flags, "call.wav")[1].splitlines()
    assert lines == 2 * [f"call.wav\t{line}" for line in out.splitlines()]


@pytest.mark.parametrize(
    "flags",
    [
        "--format xml", "--format srt,vtt", "--max-line-width 3", "--skip-existing", "--word-timestamps",
        "--format srt --max-line-width 0", "--format vtt --max-line-count -1", "--highlight-words",
        "--adapter left=a,right=b", "--channels split --adapter left=nobody", "--confidence-slope 0",
        "--channels split --adapter left=a,left=b", "--format text,txt --output-dir out", "--format=",
        "--confidence-slope -1 --base /none",
    ],
)  # fmt: skip
def test_odd_flags_give_one_line(run, audio, flags):
    code, out, err = run(audio("a.wav"), *flags.split())
    assert (code, out) == (1, "") and err.startswith("error: ") and err.count("\n") == 1
    assert not Path("out").exists()
