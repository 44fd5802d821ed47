"""Live transcription: a microphone, or audio that is piped in → lines on a terminal, in a pipe, in a file.

    ia3-speech transcribe --mic                                        until Ctrl-C
    arecord -q -f S16_LE -r 16000 | ia3-speech transcribe --live       WAV, of any length
    rec -q -t raw -r 16000 -b 16 -c 1 - | ia3-speech transcribe --raw 16000
    ia3-speech transcribe --mic --dictation                            as it is written; see `live_dictation`

In: `LiveOptions`, a recogniser. Out: on a terminal the text that is being spoken, rewritten in place, and a
line when it is final; elsewhere the final lines alone, or JSON lines, which may be partial too. A thread
reads while the model computes; whoever falls behind gets fewer partial texts, and the same final ones.

Ctrl-C, or SIGTERM, ends the listening: what has been heard is transcribed, printed and written. The exit code
is 0 where Ctrl-C ended a microphone, which ends in no other way, and else the shell's: 130 for a pipe, which
was not read to its end; 143 after SIGTERM. A second Ctrl-C ends at once.
"""

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.recordings import STDIN
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.dictation import Writer
from ia3_speech.live.live_audio import (
    PORTION_SECONDS,
    Microphone,
    raw_format,
    read_wav_header,
    stream_samples,
)
from ia3_speech.live.live_dictation import LiveDictation
from ia3_speech.live.live_output import TEXT, LiveOutput
from ia3_speech.live.streaming import (
    PARTIAL_SECONDS,
    PAUSE_SECONDS,
    StreamEvent,
    StreamingRecognizer,
)

WAITING_SECONDS = 60.0  # of audio that may wait for the model; then a pipe has to wait, a microphone loses
POLL_SECONDS = 0.1  # between looks at whether Ctrl-C was pressed
PAUSE_LIMITS = (0.1, 10.0)  # seconds


@dataclass(frozen=True)
class LiveOptions:
    """Live input

    Args:
        mic: transcribe the microphone, until Ctrl-C (extra ia3-speech[mic]); with --dictation, as it is
            written
        mic_device: number of the microphone, or a part of its name (default: the system's)
        live: transcribe stdin while it is being written: WAV, of known or unknown length
        raw: the same for 16-bit little-endian samples of one channel without a header; their rate in Hz, such
            as 16000
        partials: with --format json, objects of type partial too (a terminal always shows such text in place)
        pause: seconds without speech that end a line, whose text is then final
    """

    mic: bool = False
    mic_device: str | None = None
    live: bool = False
    raw: int | None = None
    partials: bool = False
    pause: float = PAUSE_SECONDS

    def active(self, files: Sequence[str]) -> bool:
        """Whether the input is live. Raises UserError for options that do not fit one another, or files."""
        if not (self.mic or self.live or self.raw is not None):
            if self.partials:
                raise UserError("--partials is for live input (give --mic or --live)")
            if self.mic_device is not None:
                raise UserError("--mic-device is for --mic")
            return False
        if self.mic and (self.live or self.raw is not None):
            raise UserError("--mic and stdin (--live, --raw) are two inputs (choose one)")
        if self.mic_device is not None and not self.mic:
            raise UserError("--mic-device is for --mic")
        if files not in ((), (STDIN,)) or (self.mic and files):
            flag = "--mic" if self.mic else "--live" if self.raw is None else "--raw"
            raise UserError(f"{files[0]}: {flag} takes no files (without {flag} they are transcribed)")
        if not PAUSE_LIMITS[0] <= self.pause <= PAUSE_LIMITS[1]:
            raise UserError(f"--pause is {self.pause:g}, and has to be from {PAUSE_LIMITS[0]:g} to "
                            f"{PAUSE_LIMITS[1]:g} seconds")  # fmt: skip
        return True


def transcribe_live(
    options: LiveOptions,
    load: Callable[[], Transcriber],
    *,
    format: str = "text",
    output_dir: Path | None = None,
    write: Writer | None = None,
) -> int:
    """Transcribe the microphone or stdin until it ends, and print and write the texts.

    Args:
        load: loads the recogniser. The input is opened before, since that may fail; a pipe is read meanwhile.
        format: text, txt or dictation is a line for each piece, json or jsonl an object.
        output_dir: microphone.txt or stdin.txt (.json) is written there; then stdout gets nothing, unless it
            is a terminal.
        write: dictation; None: the words as they were recognised.

    Returns:
        The exit code; see the module.

    Raises:
        UserError: the input can't be used, or the options do not fit one another.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    output = LiveOutput(sys.stdout, format, options.partials)
    if output_dir is not None:
        name = "microphone" if options.mic else "stdin"
        output.file = output_dir / f"{name}.{'txt' if format in TEXT else format}"
    inbox = Inbox()
    if options.mic:
        microphone = Microphone(options.mic_device)
        recognizer = load().recognizer
    else:
        read_in_background(standard_input(options.raw), inbox)
        recognizer = load().recognizer
    output.recognizer = recognizer
    partial_seconds = PARTIAL_SECONDS if output.partials else None
    stream = StreamingRecognizer(
        recognizer,
        pause_seconds=options.pause,
        partial_seconds=partial_seconds,
        with_words=write is not None,
    )
    dictation = LiveDictation(write, partials=output.partials) if write else None
    with interruption() as interrupted:
        if options.mic:
            microphone.start(inbox.put_or_lose, inbox.finish)
        if sys.stderr.isatty():
            heard = microphone.name if options.mic else "stdin"
            print(f"listening to {heard}, until Ctrl-C", file=sys.stderr)
        try:
            transcribe_inbox(inbox, stream, dictation, output, interrupted)
        finally:
            if options.mic:
                microphone.stop()
            output.close()
    if (unused := getattr(recognizer.search, "unused", None)) and (message := unused()):
        print(message, file=sys.stderr)
    if inbox.lost_samples:
        seconds = inbox.lost_samples / SAMPLE_RATE
        print(f"{seconds:.1f} s of audio were lost: the model is slower than speech", file=sys.stderr)
    if inbox.error:
        raise inbox.error
    number = interrupted.signal
    if options.mic and not number:
        raise UserError(f"--mic: {microphone.name} has stopped (was it unplugged?)")
    if not number or (options.mic and number == signal.SIGINT):
        return 0
    print("interrupted", file=sys.stderr)
    return 128 + number


def transcribe_inbox(
    inbox: "Inbox",
    stream: StreamingRecognizer,
    dictation: LiveDictation | None,
    output: LiveOutput,
    interrupted: "Interrupted",
) -> None:
    """Feed what comes until there is no more, or until the user has had enough; tell every event, and in the
    end, however it comes, what dictation has kept waiting."""

    def show(events: Iterable[StreamEvent]) -> None:
        for event in dictation.events(events) if dictation else events:
            output.show(event)

    ended = False
    try:
        while not ended:
            ended = inbox.finished or bool(interrupted.signal)  # what is there already is transcribed too
            show(stream.feed(inbox.take()))
        show(stream.flush())
    finally:
        for event in dictation.flush() if dictation else ():
            output.show(event)


def standard_input(raw: int | None) -> Iterable[np.ndarray]:
    """The samples that are piped into stdin. Reads the header. Raises UserError."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("no audio is piped into stdin (--mic listens to the microphone)")
    try:  # not through Python's buffer, which waits until it is full and is locked when the process ends
        read = partial(os.read, sys.stdin.fileno())
    except (OSError, ValueError):  # a program's own stdin, without a file
        read = sys.stdin.buffer.read
    return stream_samples(read, read_wav_header(read) if raw is None else raw_format(raw))


def read_in_background(portions: Iterable[np.ndarray], inbox: "Inbox") -> None:
    """Put what comes into the inbox, in a thread that ends with the process."""

    def run() -> None:
        try:
            for samples in portions:
                inbox.portions.put(samples)
        except Exception as error:  # raised in the main thread, after what was heard
            inbox.error = error
        inbox.finish()

    threading.Thread(target=run, daemon=True, name="stdin").start()


class Inbox:
    """Audio that waits for the model.

    Attributes:
        portions: float32 (samples,).
        finished: no more will come.
        error: what ended the input early.
        lost_samples: for which there was no room.
    """

    def __init__(self) -> None:
        self.portions: queue.Queue[np.ndarray] = queue.Queue(round(WAITING_SECONDS / PORTION_SECONDS))
        self.error: Exception | None = None
        self.finished, self.lost_samples = False, 0

    def put_or_lose(self, samples: np.ndarray) -> None:
        """Of a microphone, which doesn't wait."""
        try:
            self.portions.put_nowait(samples)
        except queue.Full:
            self.lost_samples += len(samples)

    def finish(self) -> None:
        """Note that no more will come."""
        self.finished = True

    def take(self) -> np.ndarray:
        """All that is there, (samples,); where there is nothing, what comes in a moment, or none."""
        found = [np.zeros(0, np.float32)]
        try:
            found.append(self.portions.get(timeout=POLL_SECONDS))
            while len(found) < self.portions.maxsize:  # or a fast writer is never left behind
                found.append(self.portions.get_nowait())
        except queue.Empty:
            pass
        return np.concatenate(found)


@dataclass
class Interrupted:
    """Attributes: signal: what asked the process to end; 0: nothing has."""

    signal: int = 0


@contextmanager
def interruption() -> Iterator[Interrupted]:
    """Note Ctrl-C (SIGINT) and SIGTERM instead of ending at once; a second one ends at once."""
    state, former = Interrupted(), {}

    def note(number: int, _: object) -> None:
        state.signal = number
        for one, handler in former.items():
            signal.signal(one, handler)

    if threading.current_thread() is threading.main_thread():
        handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
        former = {one: handler for one, handler in handlers.items() if callable(handler) or not handler}
        for one in former:
            signal.signal(one, note)
    try:
        yield state
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
