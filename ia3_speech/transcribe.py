"""Transcribe: audio files → text, with or without an adapter.

    python -m ia3_speech.transcribe audio.wav                           its text
    python -m ia3_speech.transcribe --adapter speaker42 a.wav b.flac    PATH<TAB>text, a line a file
    python -m ia3_speech.transcribe --adapter accent:0.7+medical a.wav  adapters add up
    python -m ia3_speech.transcribe --format json folder/               an object a line; folders are searched
    python -m ia3_speech.transcribe --output-dir texts folder/          texts/NAME.txt for folder/NAME.wav
    find . -name '*.wav' | python -m ia3_speech.transcribe              paths from stdin, or a WAV itself

    from ia3_speech import transcribe
    transcribe("audio.wav", adapter="speaker42").text                   # or an array; or a list of either

Whatever libsndfile reads, any rate and length: recordings that are longer than the base can hear are cut at
pauses. A bad file is named on stderr, the others go on, and the exit code is 1. Clipped audio is named too,
and transcribed. Progress is shown on stderr where that is a terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, overload

import numpy as np

from ia3_speech.adapters import registry as store
from ia3_speech.adapters.expressions import terms
from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, AudioError, find_problem
from ia3_speech.data.recordings import (
    STDIN,
    AudioInput,
    Recording,
    as_recording,
    find_recordings,
    output_paths,
    recording_duration,
    recordings_from_stdin,
)
from ia3_speech.decode import pools
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer, load_recognizer

if TYPE_CHECKING:
    from tqdm import tqdm

WHOLE = 60.0  # seconds that a base without absolute positions hears at once: 0.4 GB of attention a layer


@dataclass(frozen=True)
class Transcript:
    """What one recording says.

    Attributes:
        path: as it was given, or as it was found in a folder; `-` is stdin; None for an array.
        text: "" also where the audio can't be used.
        seconds: of audio.
        adapter: the adapter's name, path or sum, as it was given; None for the base alone.
        base: the base's name.
        problem: what is wrong with the audio, as a phrase; None if nothing is.
        usable: whether the audio could be transcribed in spite of it.
    """

    path: str | None
    text: str
    seconds: float
    adapter: str | None
    base: str
    problem: str | None = None
    usable: bool = True

    def json(self) -> str:
        """One line: path, text, seconds, adapter, base. Bytes of a path that aren't UTF-8 become U+FFFD."""
        path = None if self.path is None else os.fsencode(self.path).decode("utf-8", "replace")
        record = {"path": path, "text": self.text, "seconds": round(self.seconds, 3)}
        return json.dumps(record | {"adapter": self.adapter, "base": self.base}, ensure_ascii=False)


@overload
def transcribe(recordings: AudioInput, **options: Any) -> Transcript: ...
@overload
def transcribe(recordings: Sequence[AudioInput], **options: Any) -> list[Transcript]: ...
def transcribe(
    recordings: AudioInput | Sequence[AudioInput],
    *,
    adapter: str | Path | None = None,
    base: str | Path | None = None,
    recognizer: Recognizer | None = None,
    sampling_rate: int = SAMPLE_RATE,
    on_error: Literal["fail", "skip"] = "fail",
    **options: Any,
) -> Transcript | list[Transcript]:
    """Transcribe one recording, or a list of them; a list gives a list, in the order given.

    Args:
        recordings: paths, open binary files, or arrays: float `(samples,)`, mono, full scale ±1.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone.
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        recogniser: what `load_recogniser` gave, to load a base once for many calls; instead of the others.
        sampling_rate: of the arrays, in Hz.
        on_error: "skip": unusable audio has no text, and its `problem` says why.
        options: of `load_recogniser`: device, dtype, batch_seconds, max_seconds.

    Raises:
        AudioError: a recording can't be used, and on_error is "fail".
        UserError: as `load_recogniser`.
    """
    if recognizer is not None and (adapter or base or options):
        raise ValueError("give a recogniser, or what to load: adapter, base, device …")
    one = isinstance(recordings, str | os.PathLike | np.ndarray) or hasattr(recordings, "read")
    sources = [as_recording(recording) for recording in ([recordings] if one else recordings)]
    recognizer = recognizer or load(base, adapter, **options)
    results = []
    for result in transcripts(sources, recognizer, sampling_rate=sampling_rate):
        if not result.usable and on_error == "fail":
            raise AudioError(f"{result.path or 'array'}: {result.problem}")
        results.append(result)
    return results[0] if one else results


def load(base: str | Path | None, adapter: str | Path | None, **options: Any) -> Recognizer:
    """`load_recogniser`, for recordings of any length: no base hears an hour at once."""
    recognizer = load_recognizer(base, adapter, **options)
    if options.get("max_seconds") is None and recognizer.max_seconds is None:
        recognizer.max_seconds = WHOLE
    return recognizer


def transcripts(
    sources: Iterable[Recording],
    recognizer: Recognizer,
    advance: Callable[[float], Any] = lambda _: None,
    *,
    sampling_rate: int = SAMPLE_RATE,
) -> Iterator[Transcript]:
    """A transcript for each source, in the order given, unusable ones included.

    Some 20 minutes of audio are read, sorted into batches by length, and transcribed at a time.

    Args:
        advance: called after each batch with the seconds of audio that it held.
        sampling_rate: of arrays among the sources.
    """
    made_by = {"adapter": recognizer.name, "base": recognizer.base.name}
    for pool in pools(read(sources, recognizer.base.minimum_samples, sampling_rate)):
        usable = [wave for (_, _, usable), wave in pool if usable]
        texts = iter(recognizer.texts(usable, lambda _, seconds: advance(seconds)))
        for (source, problem, usable), wave in pool:
            text, seconds = next(texts) if usable else "", len(wave) / SAMPLE_RATE
            yield Transcript(source.path, text, seconds, **made_by, problem=problem, usable=usable)


def read(
    sources: Iterable[Recording], minimum_samples: int, sampling_rate: int
) -> Iterator[tuple[tuple[Recording, str | None, bool], np.ndarray]]:
    """Each source's wave, with what is wrong with it, and whether a model can make use of it."""
    for source in sources:
        try:
            wave = source.load(sampling_rate)
        except AudioError as error:
            yield (source, str(error).removeprefix(f"{source.path}: "), False), np.zeros(0, np.float32)
            continue
        problem = find_problem(wave, minimum_samples)
        yield (source, problem and problem.reason, problem is None or not problem.fatal), wave


def usage() -> str:
    """What a person sees who typed the command alone."""
    lines = takewhile(str.strip, (__doc__ or "").splitlines()[2:])
    names = store.names()
    known = f"Adapters: {', '.join(names)}" if names else f"No adapter is registered in {store.home()}."
    return "\n".join(["Usage:", *lines, "", known, "All options: python -m ia3_speech.transcribe --help"])


def main(
    *files: str,
    adapter: str | None = None,
    base: str | None = None,
    format: Literal["text", "json"] = "text",
    output_dir: Path | None = None,
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
) -> int:
    """Transcribe audio files.

    Args:
        files: audio files, and folders to search for them (default: paths from stdin, or a WAV)
        adapter: a registered name, an adapter's folder, or a sum such as accent:0.7+medical:0.5 (default: the
            base alone)
        base: mini, a folder or a hub id (default: the adapter's recorded base, else mini)
        format: text is PATH<TAB>text, of a single file the text alone; json is an object a line
        output_dir: write a .txt (or .json) file for each recording there, and nothing to stdout
        batch_seconds: seconds of padded audio that go through the model at once
        max_seconds: cut longer recordings at pauses (default: where the base loses count, mini after 15.36 s,
            else 60; .inf: never)
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: of the base
    """
    if adapter is not None:
        terms(adapter)  # a wrong name is found before stdin is read and torch is loaded
    if files in ((), (STDIN,)):
        if sys.stdin is None or sys.stdin.isatty():
            print(usage())
            return 0
        sources, bad = recordings_from_stdin(sys.stdin.buffer)
    else:
        sources, bad = find_recordings(files)
    places = (
        output_paths(sources, output_dir, ".json" if format == "json" else ".txt") if output_dir else None
    )
    for line in bad:
        print(line, file=sys.stderr)
    if not sources:
        return 1
    options = {"device": device, "dtype": dtype, "batch_seconds": batch_seconds, "max_seconds": max_seconds}
    recognizer = load(base, adapter, **options)
    alone = len(sources) + len(bad) == 1
    faulty = show(sources, recognizer, places, format, alone)
    return 1 if bad or faulty else 0


def show(
    sources: Sequence[Recording],
    recognizer: Recognizer,
    places: Sequence[Path] | None,
    format: Literal["text", "json"],
    alone: bool,
) -> int:
    """Transcribe, and print or write each text as soon as it is there; returns how many files were bad."""
    if hasattr(sys.stdout, "reconfigure"):  # a path's bytes come out as they went in
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    faulty = 0
    with progress(sources) as bar:
        for index, result in enumerate(transcripts(sources, recognizer, bar.update)):
            if result.problem:
                faulty += not result.usable
                say(f"{result.path}: {result.problem}", sys.stderr)
            if not result.usable:
                continue
            line = result.json() if format == "json" else result.text
            if places:
                write_text(places[index], f"{line}\n")
            else:
                say(line if alone or format == "json" else f"{one_line(result.path)}\t{line}", sys.stdout)
    return faulty


def progress(sources: Sequence[Recording]) -> "tqdm":
    """A bar over seconds of audio on stderr, where that is a terminal."""
    from tqdm import tqdm

    shown = sys.stderr.isatty()
    return tqdm(
        desc="transcribing",
        total=sum(map(recording_duration, sources)) if shown else None,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} s of audio [{elapsed}<{remaining}]",
        unit_scale=True,
        disable=not shown,
        dynamic_ncols=True,
        leave=False,
    )


def say(line: str, stream: TextIO) -> None:
    """Print a line, now, without disturbing a progress bar on the same terminal."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=stream):
        print(line, file=stream, flush=True)


def one_line(path: str) -> str:
    """A path that holds line ends or TABs would break the line it stands in."""
    return path.translate(str.maketrans("\t\r\n", "   "))


if __name__ == "__main__":
    command(main)
