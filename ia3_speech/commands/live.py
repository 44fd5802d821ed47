"""Transcribe a microphone, or audio from a pipe, while it is spoken.

    ia3-speech live --mic                                       until Ctrl-C
    arecord -q -f S16_LE -r 16000 | ia3-speech live             WAV, of any length
    rec -q -t raw -r 16000 -b 16 -c 1 - | ia3-speech live --raw 16000
    ia3-speech live --mic --dictation --adapter speaker42       punctuation and doses as in writing

The same as `ia3-speech transcribe --mic`, `--live` and `--raw`. On a terminal, unfinished text is rewritten
in place until its line is final. Elsewhere only final lines are printed; with --format json one object per
line, and with --partials unfinished text too:

    {"type": "final", "start": 0.31, "end": 2.48, "text": "no fever", "adapter": null, "base": "mini"}

If the machine is too slow, there are fewer partial texts, and the same final texts. Ctrl-C or SIGTERM ends
the input; the audio up to then is transcribed and printed. The exit code is 0 if Ctrl-C ended a microphone,
130 if it ended a pipe before its end, and 143 after SIGTERM. A second Ctrl-C ends at once.
"""

import json
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TextIO

import numpy as np

from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS
from ia3_speech.decoding.options import DictationOptions, GuardOptions, LiveOptions, ModelOptions
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.segments import PostProcessor
from ia3_speech.decoding.transcript import times_of
from ia3_speech.live.audio import PORTION_SECONDS, Microphone, raw_format, read_wav_header, stream_samples
from ia3_speech.live.streaming import PARTIAL_SECONDS, PostProcessed, StreamEvent, StreamingRecognizer
from ia3_speech.model.hypotheses import unused_hotwords
from ia3_speech.session import load, make_post_process

WAITING_SECONDS = 60.0  # of audio that may wait for the model; then a pipe waits, a microphone loses audio
DAY_SECONDS = 86_400.0  # for --max-seconds inf
POLL_SECONDS = 0.1  # between checks whether Ctrl-C was pressed
TEXT, JSON = ("text", "txt", "dictation"), ("json", "jsonl")  # formats
CLEAR_LINE = "\r\x1b[K"  # to the beginning of the line, and erase it (ECMA-48)


def main(
    *,
    live_options: LiveOptions,
    model_options: ModelOptions,
    guard_options: GuardOptions,
    search_options: SearchOptions,
    dictation_options: DictationOptions,
    format: str = "text",
    max_seconds: float | None = None,
) -> int:
    """Transcribe the microphone, or WAV that is piped into stdin.

    Args:
        format: text: one line for each final text (dictation: the same, with --dictation); json: one object
            for each
        max_seconds: cut speech without a pause after this many seconds (default: the base's maximum input
            duration, 15.36 s for mini, else 15; inf: never)
    """
    live_options.check(live=True)
    loading = model_options.for_loading(max_seconds=max_seconds)
    loading |= {"adapter": guard_options.spec(model_options.adapter), "search": search_options}
    return transcribe_live(live_options, loading, make_post_process(dictation_options, format), format)


def transcribe_live(
    live_options: LiveOptions, loading: dict[str, Any], post_process: PostProcessor | None, format: str
) -> int:
    """Transcribe live input, and print the texts; returns the exit code. `loading` is for `session.load`."""
    sys.stdout.reconfigure(encoding="utf-8")
    output = LiveOutput(sys.stdout, format, live_options.partials)
    inbox, microphone = Inbox(), None
    if live_options.mic:  # it may fail, so it is opened before the base is loaded
        microphone = Microphone(live_options.mic_device)
    else:
        portions = standard_input(live_options.raw)
        threading.Thread(target=inbox.fill, args=[portions], daemon=True, name="stdin").start()
    recognizer = load(**loading).recognizer
    seconds = loading["options"].max_seconds or recognizer.base.maximum_seconds or MAXIMUM_SECONDS
    recognizer = replace(recognizer, max_seconds=min(seconds, DAY_SECONDS))
    output.system = {"adapter": recognizer.name, "base": recognizer.base.name}
    stream = StreamingRecognizer(
        recognizer,
        pause_seconds=live_options.pause,
        partial_seconds=PARTIAL_SECONDS if output.partials else None,
        with_words=post_process is not None,
    )
    written = PostProcessed(post_process, partials=output.partials)
    with interruption() as interrupted:
        if microphone:
            microphone.start(inbox.put_or_lose, inbox.finished.set)
        if sys.stderr.isatty():
            print(f"listening to {microphone.name if microphone else 'stdin'}, until Ctrl-C", file=sys.stderr)
        try:
            ended = False
            while not ended:
                ended = inbox.finished.is_set() or bool(interrupted)  # waiting audio is transcribed first
                output.show(written.events(stream.feed(inbox.take())))
            output.show(written.events(stream.flush()))
        finally:
            output.show(written.flush())
            if microphone:
                microphone.stop()
            output.close()
    if loading["search"].hotwords and (message := unused_hotwords(recognizer.search)):
        print(message, file=sys.stderr)
    if inbox.lost_samples:
        seconds = inbox.lost_samples / SAMPLE_RATE
        print(f"{seconds:.1f} s of audio were lost: the model is slower than speech", file=sys.stderr)
    if inbox.error:
        raise inbox.error
    if microphone and not interrupted:
        raise UserError(f"--mic: {microphone.name} has stopped (was it unplugged?)")
    if not interrupted or (microphone and interrupted == [signal.SIGINT]):
        return 0
    print("interrupted", file=sys.stderr)
    return 128 + interrupted[0]


def standard_input(raw: int | None) -> Iterable[np.ndarray]:
    """The samples that are piped into stdin; reads the header. Raises UserError."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("no audio is piped into stdin (--mic listens to the microphone)")
    try:  # not through Python's buffer, which waits until it is full and is locked when the process ends
        read = partial(os.read, sys.stdin.fileno())
    except (OSError, ValueError):  # stdin of an embedding program, without a file
        read = sys.stdin.buffer.read
    return stream_samples(read, read_wav_header(read) if raw is None else raw_format(raw))


class Inbox:
    """Audio that waits for the model, put in by another thread."""

    def __init__(self) -> None:
        self.portions: queue.Queue[np.ndarray] = queue.Queue(round(WAITING_SECONDS / PORTION_SECONDS))
        self.finished = threading.Event()  # no more audio will come
        self.error: Exception | None = None  # the reason why the input ended early
        self.lost_samples = 0  # of a microphone, lost while the inbox was full

    def fill(self, portions: Iterable[np.ndarray]) -> None:
        """Put in all portions of a pipe; blocks while the inbox is full."""
        try:
            for samples in portions:
                self.portions.put(samples)
        except Exception as error:  # raised in the main thread, after the audio before it
            self.error = error
        self.finished.set()

    def put_or_lose(self, samples: np.ndarray) -> None:
        """Put in a portion of a microphone; a full inbox loses it."""
        try:
            self.portions.put_nowait(samples)
        except queue.Full:
            self.lost_samples += len(samples)

    def take(self) -> np.ndarray:
        """All waiting audio, `(samples,)`; if there is none, the next portion within 0.1 s."""
        portions = [np.zeros(0, np.float32)]
        with suppress(queue.Empty):
            portions.append(self.portions.get(timeout=POLL_SECONDS))
            while len(portions) <= self.portions.maxsize:  # a fast writer must not keep this loop busy
                portions.append(self.portions.get_nowait())
        return np.concatenate(portions)


@contextmanager
def interruption() -> Iterator[list[int]]:
    """A list that receives the first Ctrl-C (SIGINT) or SIGTERM; a second signal ends the process."""
    interrupted: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    former = {n: handler for n, handler in handlers.items() if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def note(number: int, _: object) -> None:
        interrupted.append(number)
        restore()

    for number in former:
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        restore()


class LiveOutput:
    """Prints texts as they come: lines or JSON objects. Raises UserError for options that can't be used."""

    def __init__(self, stream: TextIO, format: str = "text", partials: bool = False):
        if format not in (*TEXT, *JSON):
            raise UserError(f"--format {format}: live input is written as {' or '.join((*TEXT, *JSON))}")
        is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        if partials and format in TEXT and not is_terminal:
            raise UserError("--partials needs --format json, or a terminal")
        self.stream, self.format = stream, format
        self.system: dict[str, str | None] = {}  # the adapter and the base, for JSON
        self.in_place = is_terminal and format in TEXT
        self.partials = partials or self.in_place

    def show(self, events: Iterable[StreamEvent]) -> None:
        """Print events. An empty text prints nothing."""
        for event in events:
            line = event.text.removesuffix("\n") if self.format in TEXT else self.record(event)
            if self.in_place:
                if not event.final:  # its end, in one line of the terminal, which wraps at the last column
                    line, width = line.replace("\n", "⏎"), shutil.get_terminal_size().columns - 2
                    line = line if len(line) <= width else f"…{line[-width:]}"
                self.stream.write(CLEAR_LINE + line)
            if event.text and (event.final or not self.in_place):
                self.stream.write("\n" if self.in_place else f"{line}\n")
            self.stream.flush()

    def record(self, event: StreamEvent) -> str:
        record = {"type": "final" if event.final else "partial", **times_of(event), "text": event.text}
        record |= {} if event.raw_text is None else {"raw_text": event.raw_text}
        gate = {"gate": [event.choice.record]} if event.choice else {}
        return json.dumps(record | self.system | gate, ensure_ascii=False)

    def close(self) -> None:
        """Leave the terminal on an empty line."""
        if self.in_place:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()
