"""Transcribe: audio files → text, with or without an adapter.

    ia3-speech transcribe audio.wav                           its text
    ia3-speech transcribe --adapter speaker42 a.wav b.flac    PATH<TAB>text, a line a file
    ia3-speech transcribe --adapter accent:0.7+medical a.wav  the weighted sum of two adapters
    ia3-speech transcribe --format json folder/               an object a line; folders are searched
    ia3-speech transcribe --output-dir texts folder/          texts/NAME.txt for folder/NAME.wav
    ia3-speech transcribe --dictation a.wav                   with punctuation, numbers, doses, dates written
    find . -name '*.wav' | ia3-speech transcribe              paths from stdin, or a WAV itself
    ia3-speech transcribe --mic                               the microphone, until Ctrl-C
    arecord -f S16_LE -r 16000 | ia3-speech transcribe --live the text of what is being piped in

Reads whatever libsndfile reads, of any rate and length, and m4a, mp4, webm, aac, wma and amr where PyAV
(the extra ia3-speech[containers]) or ffmpeg is installed. Recordings longer than the base's maximum input
duration are cut at pauses. A bad file is named on stderr, the others are transcribed, and the exit code is 1.
Clipped audio, silence and noise are named too, and transcribed. Progress is shown on stderr where that is a
terminal. Ctrl-C ends live input: what was heard is transcribed and written; the exit code is 0 for --mic, and
130 for a pipe, whose rest is not read.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from ia3_speech.adapters import registry
from ia3_speech.adapters.expressions import parse_terms
from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.recordings import (
    STDIN,
    Recording,
    find_recordings,
    output_paths,
    recording_duration,
    recordings_from_stdin,
)
from ia3_speech.decoding.dictation import DictationOptions
from ia3_speech.decoding.live import LiveOptions, transcribe_live
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer, load_recognizer
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.transcription import load_for_recordings, transcripts
from ia3_speech.decoding.transcription import transcribe as transcribe  # the function, for Python

if TYPE_CHECKING:
    from tqdm import tqdm


def main(
    *files: str,
    search_options: SearchOptions,
    live_options: LiveOptions,
    dictation_options: DictationOptions,
    adapter: str | None = None,
    base: str | None = None,
    format: Literal["text", "json", "dictation"] = "text",
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
        format: text is PATH<TAB>text, of a single file the text alone; json is an object a line;
            dictation is text with --dictation
        output_dir: write a .txt (or .json) file for each recording there, and nothing to stdout
        batch_seconds: seconds of padded audio that go through the model at once
        max_seconds: cut longer recordings at pauses (default: the base's maximum input duration, 15.36 s for
            mini, else 60; .inf: never)
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: of the base
    """
    search_options.check()
    write = dictation_options.formatter() if dictation_options.dictation or format == "dictation" else None
    if adapter is not None:
        parse_terms(adapter)  # an unknown adapter is reported before stdin is read and torch is loaded
    if live_options.active(files):
        model = {"device": device, "dtype": dtype, "max_seconds": max_seconds}
        load = partial(load_recognizer, base, adapter, search=search_options, **model)
        return transcribe_live(live_options, load, format=format, output_dir=output_dir)
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
    recognizer = load_for_recordings(
        base,
        adapter,
        device=device,
        dtype=dtype,
        batch_seconds=batch_seconds,
        max_seconds=max_seconds,
        search=search_options,
    )
    single = len(sources) + len(bad) == 1
    unusable = print_transcripts(sources, recognizer, places, format, single, write)
    return 1 if bad or unusable else 0


def usage() -> str:
    """What the command prints without files on a terminal: examples, and the registered adapters."""
    examples = takewhile(str.strip, (__doc__ or "").splitlines()[2:])
    registered = registry.registered_names()
    known = (
        f"Adapters: {', '.join(registered)}"
        if registered
        else f"No adapter is registered in {registry.home()}."
    )
    return "\n".join(["Usage:", *examples, "", known, "All options: ia3-speech transcribe --help"])


def print_transcripts(
    sources: Sequence[Recording],
    recognizer: Recognizer,
    places: Sequence[Path] | None,
    format: Literal["text", "json", "dictation"],
    single: bool,
    write: Callable[[str], str] | None = None,
) -> int:
    """Transcribe, and print or write each text as soon as it is there.

    Args:
        places: a file for each source; None prints them.
        single: there is one file, whose text is printed without its path.
        write: makes a text what is written, for dictation; JSON has `raw_text` too.

    Returns:
        How many files could not be used.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a path's bytes come out as they went in
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    unusable = 0
    with progress_bar(sources) as bar:
        for index, result in enumerate(transcripts(sources, recognizer, bar.update)):
            if result.problem:
                unusable += not result.usable
                print_line(f"{result.path}: {result.problem}", sys.stderr)
            if not result.usable:
                continue
            if write:
                result = replace(result, text=write(result.text), raw_text=result.text)
            line = result.json() if format == "json" else result.text
            if places:
                write_text(places[index], f"{line}\n")
            elif single or format == "json":
                print_line(line, sys.stdout)
            else:
                print_line(f"{without_breaks(result.path)}\t{without_breaks(line)}", sys.stdout)
    return unusable


def progress_bar(sources: Sequence[Recording]) -> "tqdm":
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


def print_line(line: str, stream: TextIO) -> None:
    """Print a line at once, without disturbing a progress bar on the same terminal."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=stream):
        print(line, file=stream, flush=True)


def without_breaks(path: str) -> str:
    """A path or a text without line ends and TABs, which would break the line that it stands in."""
    return path.translate(str.maketrans("\t\r\n", "   "))


if __name__ == "__main__":
    command(main)
