"""Live input: the command with --live, --raw and --mic: what is printed when, Ctrl-C, and what goes wrong."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stand_in_microphone import microphone_that_plays, sounddevice
from warm_python import path_with_warm_python

from ia3_speech.cli import UserError, command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.live import live_output
from ia3_speech.live.live import Inbox, interruption
from ia3_speech.live.live_output import CLEAR_LINE, LiveOutput, fitting
from ia3_speech.live.streaming import StreamEvent, StreamingRecognizer
from ia3_speech.loading import load
from ia3_speech.transcribe import main


def babble(seconds: float, seed: int = 0, rate: int = SAMPLE_RATE) -> np.ndarray:
    size = round(seconds * rate)
    syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(size) / rate)
    return (np.random.default_rng(seed).normal(0, 0.1, size) * syllables).astype(np.float32)


def two_sentences(rate: int = SAMPLE_RATE) -> np.ndarray:
    pause = np.zeros(rate, np.float32)
    return np.concatenate([babble(1.5, 1, rate), pause, babble(1.2, 2, rate), pause[: rate // 4]])


def wav(wave: np.ndarray, rate: int = SAMPLE_RATE, *, unknown: bool = True) -> bytes:
    """16-bit WAV, whose header may say that the length is unknown, as a program writes it into a pipe."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV")
    data = file.getvalue()
    return data[:40] + struct.pack("<I", 2**32 - 1) + data[44:] if unknown else data


def expected(base, data: bytes) -> list[str]:
    """The final texts of a whole file."""
    stream = StreamingRecognizer(load(base).recognizer)
    return [e.text for e in stream.feed(load_audio(io.BytesIO(data))) + stream.flush() if e.final and e.text]


@pytest.fixture
def run(capsys, monkeypatch):
    """A function that runs the command with these bytes on stdin: exit code, stdout, stderr."""

    def outcome(*argv, stdin: bytes = b""):
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            command(main, [str(word) for word in argv])
        return caught.value.code, *capsys.readouterr()

    return outcome


# ---- what is printed and written


def test_a_line_for_each_sentence(run, tiny_folder):
    data = wav(two_sentences())
    texts = expected(tiny_folder, wav(two_sentences(), unknown=False))
    assert len(texts) == 2
    lines = "".join(f"{text}\n" for text in texts)
    assert run("--base", tiny_folder, "--live", stdin=data) == (0, lines, "")
    assert run("--base", tiny_folder, "--live", "-", stdin=data) == (0, lines, "")
    assert run("--base", tiny_folder, "--raw", "16000", stdin=data[44:]) == (0, lines, "")


def test_hot_words_that_were_never_found_are_told(run, tiny_folder, tmp_path):
    (tmp_path / "terms.txt").write_text("pneumonoultramicroscopic\n")
    words = ("--live", "--search", "greedy", "--hotwords", tmp_path / "terms.txt", "--hotword-weight", 0.01)
    code, _, err = run("--base", tiny_folder, *words, stdin=wav(two_sentences()))
    assert (code, err) == (0, f"{tmp_path / 'terms.txt'}: none of its 1 term was found in this audio\n")


def test_json_lines_with_partial_texts(run, tiny_folder):
    data = wav(two_sentences())
    code, out, err = run("--base", tiny_folder, "--live", "--format", "json", "--partials", stdin=data)
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert {record["type"] for record in records} <= {"partial", "final"}
    last = [record for record in records if record["type"] == "final"][-1]
    assert list(last) == ["type", "start", "end", "text", "adapter", "base"]
    assert (
        last["base"] == str(tiny_folder) and 1.99 < last["start"] < 2.5 and last["end"] == pytest.approx(3.95)
    )


def test_an_output_folder(run, tiny_folder, tmp_path):
    data = wav(two_sentences())
    lines = "".join(f"{text}\n" for text in expected(tiny_folder, wav(two_sentences(), unknown=False)))
    arguments = ("--base", tiny_folder, "--live", "--output-dir", tmp_path / "texts")
    assert run(*arguments, stdin=data) == (0, "", "")
    assert (tmp_path / "texts/stdin.txt").read_text() == lines
    assert run(*arguments, "--format", "json", stdin=data) == (0, "", "")
    assert len((tmp_path / "texts/stdin.json").read_text().splitlines()) == 2
    assert sorted(p.name for p in (tmp_path / "texts").iterdir()) == ["stdin.json", "stdin.txt"]


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_and_stereo(run, tiny_folder, rate):
    mono = two_sentences(rate)
    code, out, err = run("--base", tiny_folder, "--live", stdin=wav(np.stack([mono, mono / 2], axis=1), rate))
    assert (code, err, len(out.splitlines())) == (0, "", 2)


def test_an_adapter(run, tiny_folder, speaker42):
    data = wav(two_sentences())
    adapted = run("--adapter", "speaker42", "--live", stdin=data)
    assert adapted[0] == 0 and adapted[1] != run("--base", tiny_folder, "--live", stdin=data)[1]


# ---- what goes wrong


@pytest.mark.parametrize(
    ("stdin", "flag", "message"),
    [
        (b"", "--live", "error: stdin: empty (no bytes): nothing was piped into it\n"),
        (b"recordings/a.wav\n", "--live", "error: stdin: not a WAV stream, it begins with b'recordings/a'"),
        (b"\xff" * 3000, "--live", "error: stdin: not a WAV stream"),
        (b"", "--raw=5", "error: --raw is 5 Hz"),
    ],
)
def test_garbage_is_one_line(run, stdin, flag, message):
    code, out, err = run(flag, "--base", "nowhere", stdin=stdin)  # said before a base is looked for
    assert (code, out) == (1, "") and err.startswith(message) and err.count("\n") == 1


def test_random_bytes_are_samples_of_raw_audio(run, tiny_folder):
    noise = np.random.default_rng(0).bytes(32_001)
    assert run("--base", tiny_folder, "--raw", "16000", stdin=noise)[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--partials"], "--partials is for live input"),
        (["--mic-device", "1"], "--mic-device is for --mic"),
        (["--mic-device", "1", "--live"], "--mic-device is for --mic"),
        (["--mic", "--live"], "two inputs"),
        (["--mic", "--raw", "16000"], "two inputs"),
        (["--mic", "a.wav"], "a.wav: --mic takes no files"),
        (["--mic", "-"], "-: --mic takes no files"),
        (["--live", "a.wav"], "a.wav: --live takes no files"),
        (["--raw", "16000", "a.wav", "b.wav"], "a.wav: --raw takes no files"),
        (["--live", "--pause", "0"], "--pause is 0, and has to be from 0.1 to 10"),
        (["--live", "--pause", "11"], "--pause is 11"),
        (["--live", "--partials"], "--partials needs --format json, or a terminal"),
    ],
)  # fmt: skip
def test_flags_that_do_not_fit(run, flags, message):
    code, out, err = run(*flags)
    assert (code, out) == (1, "") and message in err and err.count("\n") == 1


def test_the_extra_of_the_microphone_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = run("--mic", "--base", "nowhere")
    assert (code, out) == (1, "")
    assert err == 'error: --mic needs the package sounddevice (pip install "ia3-speech[mic]")\n'


def test_what_was_heard_before_an_error_is_told(run, tiny_folder):
    """A float sample that is NaN, near the end."""
    wave = two_sentences()
    wave[-3000] = np.nan
    file = io.BytesIO()
    soundfile.write(file, wave, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    code, out, err = run("--base", tiny_folder, "--live", stdin=file.getvalue())
    assert code == 1 and err.startswith("error: stdin: samples are NaN or infinite") and err.count("\n") == 1
    assert len(out.splitlines()) == 2  # the second up to there


def test_dictation_that_waits_is_told_before_an_error(run, tiny_folder, monkeypatch):
    def fail(self):
        raise UserError("the device's memory is full")

    monkeypatch.setattr(StreamingRecognizer, "flush", fail)
    code, out, err = run("--base", tiny_folder, "--live", "--dictation", stdin=wav(two_sentences()))
    assert (code, err) == (1, "error: the device's memory is full\n")
    assert len(out.splitlines()) == 1  # the first sentence; the second was never recognised


# ---- a microphone, played by a thread, and Ctrl-C


def test_ctrl_c_ends_a_microphone_with_code_0(run, tiny_folder, monkeypatch, tmp_path):
    """PortAudio needs a device, so its Python module is replaced; the signal is real."""
    wave = two_sentences()
    module = microphone_that_plays(wave, 48_000.0)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    code, out, err = run("--base", tiny_folder, "--mic", "--output-dir", tmp_path)
    assert (code, out, err) == (0, "", "")
    stream = StreamingRecognizer(load(tiny_folder).recognizer)
    texts = [event.text for event in stream.feed(wave) + stream.flush() if event.final]
    assert (tmp_path / "microphone.txt").read_text().splitlines() == texts
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), interruption() as state:
        os.kill(os.getpid(), signal.SIGINT)
        assert state.signal == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_a_microphone_loses_what_the_model_has_no_time_for():
    inbox = Inbox()
    for _ in range(inbox.portions.maxsize + 3):
        inbox.put_or_lose(np.zeros(1600, np.float32))
    assert inbox.lost_samples == 3 * 1600
    assert len(inbox.take()) == (inbox.portions.maxsize - 1) * 1600
    assert len(inbox.take()) == 1600 and len(inbox.take()) == 0


# ---- the command in a pipe


def start(python: str, base, *flags: str) -> subprocess.Popen:
    words = [python, "-m", "ia3_speech", "transcribe", "--base", str(base), *flags]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=os.environ | {"PATH": path_with_warm_python()}, **streams)


def test_a_pipe_that_is_fed_at_its_own_speed(tiny_folder):
    """Each line comes while the pipe is still open; the final texts are those of the file."""
    data = wav(two_sentences())
    process = start("python", tiny_folder, "--live", "--format", "json", "--partials")
    arrived = []

    def read():
        arrived.extend((json.loads(line), process.stdin.closed) for line in process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    process.stdin.write(data[:20])
    for first in range(20, len(data), 3200):
        process.stdin.write(data[first : first + 3200])
        process.stdin.flush()
        time.sleep(0.1)
    deadline = time.monotonic() + 60
    while not any(record["type"] == "final" for record, _ in arrived) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.stdin.close()
    reader.join(60)
    assert process.wait(60) == 0 and process.stderr.read() == b""
    found = [record["text"] for record, _ in arrived if record["type"] == "final"]
    assert found == expected(tiny_folder, wav(two_sentences(), unknown=False))
    assert not arrived[0][1]  # before the end


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc shows when it is ready")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_pipe_tells_and_writes_what_was_heard(tiny_folder, tmp_path, number, code):
    """While the second sentence is being spoken, and the pipe stays open."""
    flags = ("--raw", "16000", "--output-dir", str(tmp_path), "--format", "json", "--pause=.5")
    process = start(sys.executable, tiny_folder, *flags)  # not the warm one, whose signals are another's
    wave = two_sentences()[: round(3.3 * SAMPLE_RATE)]
    process.stdin.write((wave * 32767).astype("<i2").tobytes())
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not caught_signals(process.pid) & 1 << signal.SIGTERM - 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # the handler is there once the model is
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, b"interrupted\n")
    records = [json.loads(line) for line in (tmp_path / "stdin.json").read_text().splitlines()]
    assert [record["end"] for record in records] == [
        pytest.approx(1.75, abs=0.03),
        pytest.approx(3.3, abs=0.01),
    ]


def caught_signals(pid: int) -> int:
    """The mask of the signals that a process handles."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))


def test_a_microphone_that_stops_is_told(run, tiny_folder, monkeypatch):
    class InputStream:
        def __init__(self, finished_callback, **_):
            self.start = finished_callback

        def close(self):
            pass

    module = sounddevice(InputStream, 48_000.0)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    code, out, err = run("--base", tiny_folder, "--mic")
    assert (code, out, err) == (1, "", "error: --mic: Desk has stopped (was it unplugged?)\n")


# ---- a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_line_is_rewritten_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(live_output, "columns", lambda: 12)
    screen = Terminal()
    output = LiveOutput(screen)
    assert output.partials
    output.show(StreamEvent("no fever", 0, 1, final=False))
    output.show(StreamEvent("no fever no cough", 0, 2, final=False))
    output.show(StreamEvent("no fever no cough", 0, 2, final=True))
    output.show(StreamEvent("", 3, 4, final=True))
    output.close()
    assert screen.getvalue() == (
        f"{CLEAR_LINE}no fever{CLEAR_LINE}…r no cough{CLEAR_LINE}no fever no cough\n{CLEAR_LINE}{CLEAR_LINE}"
    )


def test_formats_that_need_the_whole_recording():
    with pytest.raises(
        UserError, match="--format srt: live input is written as text or txt or dictation or json or jsonl"
    ):
        LiveOutput(io.StringIO(), "srt")


def test_json_on_a_terminal_and_a_dumb_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    output = LiveOutput(Terminal(), "json", partials=True)
    output.show(StreamEvent("no", 0, 1.23456, final=False))
    assert output.stream.getvalue() == '{"type": "partial", "start": 0, "end": 1.235, "text": "no"}\n'
    monkeypatch.setenv("TERM", "dumb")
    assert not LiveOutput(Terminal()).partials


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("", 10, ""), ("abc", 5, "abc"), ("abcdef", 5, "…def"), ("语音识别", 7, "…识别"), ("abc", 1, "…")],
)
def test_a_long_text_shows_its_end(text, width, shown):
    assert fitting(text, width) == shown


@pytest.mark.parametrize(
    "flags",
    [
        ["--vad", "energy"],
        ["--channels", "split"],
        ["--skip-existing", "--output-dir", "no/texts"],
        ["--word-timestamps", "--format", "json"],
        ["--confidence-slope", "2"],
    ],
)
def test_options_that_live_input_does_not_apply_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as ended:
        command(main, ["--raw", "16000", *flags])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {flags[0]} does not apply to live input (")
