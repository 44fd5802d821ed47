"""ia3-speech live, and transcribe --mic, --live, --raw: what is printed when, Ctrl-C, and what goes wrong."""

import io
import json
import os
import signal
import sys
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ia3_speech.commands.live import CLEAR_LINE, LiveOutput, interruption, main
from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.decoding.segments import written_text
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation import make_dictation
from ia3_speech.live.streaming import PostProcessed, StreamEvent, StreamingRecognizer
from ia3_speech.session import load
from tests.live.test_audio_input import wav
from tests.live.test_streaming import babble


def two_sentences() -> np.ndarray:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([babble(1.5, 1), pause, babble(1.2, 2), pause[: SAMPLE_RATE // 4]])


def final_texts(base, wave: np.ndarray | None = None) -> list[str]:
    """Those of a wave; of the two sentences as a file of 16 bits."""
    wave = load_audio(io.BytesIO(wav(two_sentences()))) if wave is None else wave
    stream = StreamingRecognizer(load(base).recognizer)
    return [event.text for event in stream.feed(wave) + stream.flush() if event.final and event.text]


def test_a_line_for_each_sentence(run_command, tiny_folder):
    data, texts = wav(two_sentences()), final_texts(tiny_folder)
    assert len(texts) == 2
    for name, *flags in (
        ["live"], ["live", "--raw", "16000"], ["transcribe", "--live"], ["transcribe", "--live", "-"],
        ["transcribe", "--raw", "16000"],
    ):  # fmt: skip
        stdin = data[44:] if "--raw" in flags else data
        result = run_command(name, "--base", tiny_folder, *flags, stdin=stdin)
        assert (result.code, result.out, result.err) == (0, "".join(f"{text}\n" for text in texts), "")


@pytest.mark.parametrize(
    ("stdin", "flags", "message"),
    [
        (b"recordings/a.wav\n", [], "stdin: not a WAV stream"),
        (b"", ["--mic", "--raw", "16000"], "--mic and stdin"),
    ],
)
def test_faults_of_options_are_one_line_before_a_base_is_loaded(run_command, stdin, flags, message):
    result = run_command("live", "--base", "nowhere", *flags, stdin=stdin)
    assert (result.code, result.out) == (1, "") and result.err.count("\n") == 1
    assert result.err.startswith(f"error: {message}")


def test_audio_before_an_error_is_transcribed(run_command, tiny_folder):
    """A float sample that is NaN, near the end."""
    wave = two_sentences()
    wave[-3000] = np.nan
    result = run_command("live", "--base", tiny_folder, stdin=wav(wave, subtype="FLOAT"))
    assert result.code == 1 and result.err.startswith("error: stdin: samples are NaN or infinite")
    assert result.err.count("\n") == 1 and len(result.out.splitlines()) == 2  # the second up to there


class InputStream:
    """As sounddevice's, which needs a device: a thread brings two sentences, then somebody presses Ctrl-C."""

    def __init__(self, blocksize, callback, **_):
        wave = two_sentences()
        self.portions, self.callback = np.split(wave, range(blocksize, len(wave), blocksize)), callback

    def start(self):
        threading.Thread(target=self.play, daemon=True).start()

    def play(self):
        for portion in self.portions:
            self.callback(portion[:, None], len(portion), None, None)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    def close(self):
        pass


def test_ctrl_c_ends_a_microphone_with_code_0(run_command, tiny_folder, monkeypatch):
    """PortAudio's Python module is replaced; the signal is real."""
    device = {"index": 0, "name": "Desk", "default_samplerate": 16_000.0, "max_input_channels": 1}
    module = SimpleNamespace(InputStream=InputStream, PortAudioError=OSError, query_devices=lambda *_: device)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    result = run_command("transcribe", "--base", tiny_folder, "--mic")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == final_texts(tiny_folder, two_sentences())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), interruption() as state:
        os.kill(os.getpid(), signal.SIGINT)
        assert state == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_a_pipe_that_stays_open(tiny_folder, monkeypatch, capsys):
    """The first sentence is printed while the second is spoken; Ctrl-C writes what was heard of that."""
    heard, speak = os.pipe()
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stdin", os.fdopen(heard))
    monkeypatch.setattr(sys, "stdout", out)

    def talk() -> None:
        os.write(speak, (two_sentences()[: round(3.3 * SAMPLE_RATE)] * 32767).astype("<i2").tobytes())
        while b'"final"' not in out.buffer.getvalue():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=talk, daemon=True).start()
    flags = ["--raw", "16000", "--format", "json", "--partials", "--pause=.5"]
    with pytest.raises(SystemExit) as ended:
        command(main, ["--base", str(tiny_folder), *flags])
    os.close(speak)
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted\n")
    records = [json.loads(line) for line in out.buffer.getvalue().splitlines()]
    finals = [record["end"] for record in records if record["type"] == "final"]
    assert finals == [pytest.approx(1.75, abs=0.03), pytest.approx(3.3, abs=0.01)]
    assert {record["type"] for record in records} == {"partial", "final"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_line_is_rewritten_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "12")
    output = LiveOutput(Terminal())
    output.show([StreamEvent("no fever", 0, 1, final=False)])
    output.show([StreamEvent("no fever no cough", 0, 2, final=False)])
    output.show([StreamEvent("no fever no cough", 0, 2, final=True)])
    output.show([StreamEvent("", 3, 4, final=True)])
    output.close()
    assert output.stream.getvalue() == (
        f"{CLEAR_LINE}no fever{CLEAR_LINE}…r no cough{CLEAR_LINE}no fever no cough\n{CLEAR_LINE}{CLEAR_LINE}"
    )


DICTATION = make_dictation()
SPOKEN = (
    "no fever full stop the dose is five hundred milligrams twice a day new paragraph blood pressure one "
    "hundred and twenty over eighty new line temperature thirty eight point five degrees comma review open "
    "bracket see below close bracket period for a period of two weeks colon"
)
WORDS = SPOKEN.split()
# Any words, and the same text cut anywhere.
PIECES = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=25) | st.lists(
    st.integers(0, 3 * len(WORDS)), max_size=25
).map(lambda cuts: [" ".join((3 * WORDS)[a:b]) for a, b in pairwise([0, *sorted(cuts), None])])


def recognized(*pieces: str) -> list[StreamEvent]:
    """Final events of a stream: each word lasts half a second, each pause a whole one."""
    events, start = [], 0.0
    for text in pieces:
        times = [start + 0.5 * number for number in range(len(text.split()) + 1)]
        words = tuple(Word(word, at, at + 0.5, 1.0) for word, at in zip(text.split(), times, strict=False))
        events.append(StreamEvent(text, start, times[-1], True, words))
        start = times[-1] + 1
    return events


def final_events(pieces: list[str]) -> list[StreamEvent]:
    """What is told of pieces that come one at a time."""
    dictation = PostProcessed(DICTATION, partials=False)
    events = [event for piece in recognized(*pieces) for event in dictation.events([piece])]
    return [*events, *dictation.flush()]


@settings(max_examples=40)
@given(PIECES)
def test_final_texts_join_to_the_text_of_the_whole(pieces):
    events = final_events(pieces)
    words = [word for event in recognized(*pieces) for word in event.words]
    whole = written_text(words, DICTATION)
    assert all(event.final for event in events)
    assert "".join(e.text if e.text.endswith("\n") else f"{e.text} " for e in events).strip() == whole
    assert [word for event in events for word in event.words] == (words if whole else [])
    for event in events:
        assert event.raw_text == " ".join(word.text for word in event.words)
        assert (event.start, event.end) == (event.words[0].start, event.words[-1].end)


def test_dictated_line_breaks_are_printed():
    output = LiveOutput(io.StringIO(), "dictation")
    output.show(final_events(["pressure of two", "new line", "review", "new paragraph next visit"]))
    assert output.stream.getvalue() == "Pressure of two\nReview\n\nNext visit\n"
