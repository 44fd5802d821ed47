"""Transcribe: audio files → text, subtitles, word times, with or without an adapter.

    ia3-speech transcribe audio.wav                           its text
    ia3-speech transcribe --adapter speaker42 a.wav b.flac    PATH<TAB>text, one line per file
    ia3-speech transcribe --adapter accent:0.7+medical a.wav  the weighted sum of two adapters
    ia3-speech transcribe --format json folder/               one object per line; folders are searched
    ia3-speech transcribe --format srt,ctm --output-dir out folder/   out/NAME.srt, out/NAME.ctm
    ia3-speech transcribe --channels split --adapter left=agent,right=caller call.wav
    ia3-speech transcribe --dictation a.wav                   with punctuation and doses as in writing
    ia3-speech transcribe --part 3/8 --output-dir out folder/ one of a cluster's eight jobs
    find . -name '*.wav' | ia3-speech transcribe              paths, or one sound file, from stdin
    ia3-speech transcribe --mic                               the microphone, until Ctrl-C (--dictation too)
    arecord -f S16_LE -r 16000 | ia3-speech transcribe --live the text of what is being piped in

Reads the formats of libsndfile, of any rate and length, and m4a, mp4, webm, aac, wma and amr if PyAV (the
extra ia3-speech[containers]) is installed. Recordings longer than the base's maximum input duration are cut
at pauses. Unusable files are listed on stderr and in failed.txt of --output-dir (with --part 3/8 in
failed.3of8.txt); the others are transcribed, and the exit code is 1. Clipped audio and silence are listed
too, but transcribed. Progress is shown on stderr if that is a terminal. Files appear only when they are
complete, so --skip-existing continues a run that was killed. Ctrl-C ends live input: the audio so far is
transcribed; the exit code is 0 for --mic, and 130 for a pipe, whose rest is not read.

For users of Whisper: --output_dir, --word_timestamps, --max_line_width, --max_line_count, --highlight_words
and --beam_size mean the same, with dashes or underscores; --model is --base here, and --output_format is
--format. A CTC base writes the language that it was trained on; --language and --task are for Whisper bases.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ia3_speech.common.atomic import replacing, write_text
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.recordings import (
    STDIN,
    Part,
    Recording,
    find_recordings,
    output_paths,
    recording_duration,
    recordings_from_pipe,
)
from ia3_speech.data.utterance import load_checked
from ia3_speech.decoding.formats import FORMATS, check_output, is_timed, line_of, parse_formats, segment_line
from ia3_speech.decoding.options import (
    ConfidenceOptions,
    DictationOptions,
    GuardOptions,
    InputOptions,
    LiveOptions,
    ModelOptions,
    OutputOptions,
    TestTimeOptions,
    changed_fields,
)
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.model.hypotheses import decoded_again, unused_hotwords
from ia3_speech.session import load, make_post_process

if TYPE_CHECKING:
    from tqdm import tqdm

Job = tuple[Recording, Sequence[Path]]  # an output file for each format; none: stdout gets the text
LONG_SECONDS = 60.0  # a longer single recording is printed as text with a line for each segment
STREAMED = ("text", "txt", "jsonl")  # printed by segments while a single recording is transcribed


def main(
    *files: str,
    input_options: InputOptions,
    live_options: LiveOptions,
    model_options: ModelOptions,
    guard_options: GuardOptions,
    search_options: SearchOptions,
    output_options: OutputOptions,
    dictation_options: DictationOptions,
    confidence_options: ConfidenceOptions,
    test_time_options: TestTimeOptions,
) -> int:
    """Transcribe audio files.

    Args:
        files: audio files, and folders to search for them (default: read stdin: paths, one per line, or one
            sound file)
    """
    check_output(output_options)
    spec = guard_options.spec(model_options.adapter, split=input_options.channels == "split")
    live_options.check(files, live=live_options.active)
    output_options = replace(output_options, format=output_options.format.lower().replace(" ", ""))
    loading = model_options.for_loading(
        max_seconds=input_options.max_seconds, vad=input_options.vad, scaling=confidence_options.scaling
    )
    loading |= {"adapter": spec, "search": search_options}
    post_process = make_post_process(dictation_options, output_options.format)
    if live_options.active:
        changed = changed_fields(input_options, output_options, confidence_options, test_time_options)
        if name := next((name for name in changed if name not in ("max_seconds", "format")), None):
            hint = "leave it out, or transcribe a recording"
            raise UserError(f"`{name}` has no effect on live input ({hint})")
        from ia3_speech.commands.live import transcribe_live

        return transcribe_live(live_options, loading, post_process, output_options.format)
    if post_process and output_options.review_below is not None:
        raise UserError("--review-below marks words as they were recognised (leave out --dictation)")
    batch = read_batch(files, output_options)
    if not batch.jobs:
        return batch.close(0, [])
    loading |= {"channels": input_options.channels, "test_time": test_time_options.test_time}
    transcriber = load(**loading, post_process=post_process)
    base = transcriber.recognizer.base
    if output_options.alternatives and "alternatives" not in base.abilities:
        base.require("alternatives")  # raises
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # paths come out as they went in
    streamed = output_options.format in STREAMED and not transcriber.split and not output_options.plot
    if batch.single and not batch.failures and streamed:
        unusable = print_single(batch.jobs[0][0], transcriber, output_options)
    else:
        unusable = print_transcripts(batch.jobs, transcriber, output_options, batch.single)
    print_notes(transcriber.recognizer, output_options, has_hotwords=search_options.hotwords is not None)
    return batch.close(len(batch.jobs) - len(unusable), unusable)


@dataclass(frozen=True)
class Batch:
    """The recordings of a run."""

    jobs: Sequence[Job]
    bad: Sequence[str]  # a line for each path that names no recording
    single: bool  # whether the user gave a single recording
    failures: Path | None  # the file that lists failures, with an output folder

    def close(self, done: int, unusable: Sequence[str]) -> int:
        """The exit code. With an output folder, write the list of failures, or remove it if there are none,
        and print the numbers for several recordings."""
        failed = [*self.bad, *unusable]
        if self.failures:
            self.failures.unlink(missing_ok=True)
            if failed:
                with replacing(self.failures) as new:
                    new.write_bytes(os.fsencode("".join(f"{line}\n" for line in failed)))
            if done + len(failed) > 1:
                see = f", {len(failed):,} failed: see {self.failures}" if failed else ""
                print(f"{done:,} done{see}", file=sys.stderr)
        return 1 if failed else 0


def read_batch(files: Sequence[str], options: OutputOptions) -> Batch:
    """The recordings that a run transcribes: those of its part, and with `skip_existing` those without output
    files. Prints what is left out. Raises UserError if there are no files, or for an output that several
    recordings can't have."""
    if files in ((), (STDIN,)):
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError("no files were given (--help shows how to use it)")
        sources, bad = recordings_from_pipe(sys.stdin.buffer)
    else:
        sources, bad = find_recordings(files)
    single, formats, folder = len(sources) + len(bad) == 1, parse_formats(options.format), options.output_dir
    if folder is None and not single and not FORMATS[formats[0]].joined:
        raise UserError(
            f"--format {options.format} of several recordings makes several files (give --output-dir)"
        )
    if options.plot:
        from ia3_speech.report.charts import check_picture

        check_picture(options.plot)
        if not single:
            raise UserError("--plot draws a single recording")
    jobs: Sequence[Job] = [(source, ()) for source in sources]
    if folder:
        paths = [output_paths(sources, folder, FORMATS[name].suffix) for name in formats]
        jobs = [*zip(sources, zip(*paths, strict=True), strict=True)]
    part = Part.parse(options.part)
    jobs, bad = part.of(jobs), part.of(bad)
    failures = folder and folder / ("failed.txt" if part.count == 1 else f"failed.{part.stem}.txt")
    if any(failures in paths for _, paths in jobs):
        raise UserError(f"{failures}: lists failures, and would be a recording's text too (rename that)")
    for line in bad:
        print(line, file=sys.stderr)
    if part.count > 1 and not jobs and not bad:
        print(f"part {part} holds no recording", file=sys.stderr)
    if options.skip_existing:
        new = [job for job in jobs if not all(path.exists() for path in job[1])]
        if len(new) < len(jobs):
            print(f"{len(jobs) - len(new)} of {len(jobs)} are transcribed already", file=sys.stderr)
        jobs = new
    if folder and jobs:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # so that the error comes before the work
            raise UserError(f"--output-dir {folder}: can't be written to")
    return Batch(jobs, bad, single, failures)


def print_notes(recognizer: Recognizer, options: OutputOptions, *, has_hotwords: bool) -> None:
    """Print on stderr, at the end of a run, what the user may not expect of its output."""
    from ia3_speech.decoding.calibrations import uncalibrated  # loads scoring

    is_chosen = recognizer.spec.choice
    greedy = options.alternatives and recognizer.search_record.get("search") == "greedy"
    shown = is_timed(options) and {"json", "jsonl", "ctm", "csv"} & {*parse_formats(options.format)}
    notes = [
        has_hotwords and not is_chosen and unused_hotwords(recognizer.search),
        decoded_again(recognizer.search),
        greedy and not is_chosen and "no alternatives, since the search is greedy (take --search beam)",
        (shown or options.review_below is not None) and uncalibrated(recognizer),
    ]
    for note in filter(None, notes):
        print(note, file=sys.stderr)


def print_transcripts(
    jobs: Sequence[Job], transcriber: Transcriber, options: OutputOptions, single: bool
) -> list[str]:
    """Transcribe, and print each text as soon as it is done, a `single` text without its path; or write the
    output files. Returns a line for each unusable file."""
    unusable, formats, sources = [], parse_formats(options.format), [source for source, _ in jobs]
    with bar_of_seconds(sources) as bar:
        with_words = is_timed(options) or options.plot is not None
        results = transcriber.transcripts(sources, bar.update, with_words=with_words)
        for (source, paths), result in zip(jobs, results, strict=True):
            report_problem(result.path, result.problem)
            if not result.usable:
                unusable.append(f"{result.path}: {result.problem}")
                continue
            contents = [FORMATS[name].write(result, options) for name in formats]
            if options.plot:
                from ia3_speech.report.spectrogram import plot_transcript

                plot_transcript(options.plot, source.load(), result)
            if paths:
                for path, content in zip(paths, contents, strict=True):
                    write_text(path, content)
            elif formats in (["text"], ["dictation"]) and not single:
                path = without_breaks(result.path)
                lines = contents[0].splitlines() if result.channels else [without_breaks(contents[0][:-1])]
                lines = lines or [""]  # of a call without speech
                print_text("".join(f"{path}\t{line}\n" for line in lines), sys.stdout)
            else:
                print_text(contents[0], sys.stdout)
    return unusable


def print_single(source: Recording, transcriber: Transcriber, options: OutputOptions) -> list[str]:
    """Print the segments of a recording as they are done; for a short recording and the format text, print
    its text. Returns a line if it is unusable."""
    wave, problem = load_checked(source.load, source.path, transcriber.recognizer.base.minimum_samples)
    if (problem and problem.fatal) or (options.format == "text" and len(wave) <= LONG_SECONDS * SAMPLE_RATE):
        known = source if problem and problem.fatal else replace(source, audio=wave)
        return print_transcripts([(known, ())], transcriber, options, True)
    report_problem(source.path, problem and problem.reason)
    head = transcriber.transcript(source, len(wave), text="")
    with bar_of_seconds([source]) as bar:
        for number, segment in enumerate(transcriber.stream(wave, bar.update)):
            if options.format == "jsonl":
                print_text(segment_line(head, number, segment, options), sys.stdout)
            else:
                print_text(f"{line_of(segment, options)}\n", sys.stdout)
    return []


def report_problem(path: str, problem: str | None) -> None:
    """Print the problem of a recording on stderr."""
    if problem:
        print_text(f"{without_breaks(path)}: {problem}\n", sys.stderr)


def bar_of_seconds(sources: Sequence[Recording]) -> "tqdm":
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


def print_text(text: str, stream: TextIO) -> None:
    """Print whole lines at once, without disturbing a progress bar on the same terminal."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=stream):
        print(text, end="", file=stream, flush=True)


def without_breaks(path: str) -> str:
    """A path or a text without line ends and TABs, which would break its line."""
    return path.translate(str.maketrans("\t\r\n", "   "))
